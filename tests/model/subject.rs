//! The store under test: a real one, on real files, with a clock that stands still.

mod look;
mod translate;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use nodepath::model::secret::Sealer;
use nodepath::model::{
    Claim, Clock, Credentials, DeviceSettings, Lock, Secret, TenantId, Timestamp, TurnId,
};
use nodepath::store::{
    Accept, ByHand, Covered, Error, Finish, Host, NewDevice, TurnRecord, Work, WorkQueue,
};
use sqlx::ConnectOptions as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};

use crate::reference::{MAX_PENDING, Picture, START};
use crate::words::{Answer, Claimed, End, Hand, Op, Order, Piece, Transition};

/// A store, its files, and what it has told so far.
pub(crate) struct Subject {
    host: Host,
    /// A connection of our own, which sees the rows as they are.
    rows: SqliteConnection,
    work: WorkQueue,
    clock: Clock,
    dir: tempfile::TempDir,
    restarts: u32,
    tenants: Vec<TenantId>,
    claims: BTreeMap<Claimed, Given>,
    /// Whose turn has this id.
    turns: BTreeMap<String, Claimed>,
    /// Which part has this id.
    parts: BTreeMap<String, Piece>,
}

/// A claim as the store gave it. The lock is kept apart: a test hands it in again, which the product can't.
struct Given {
    owner: String,
    turn: TurnId,
    attempt: u32,
    covered: Covered,
    /// The version of the tenant's counter when the turn began.
    counter: i64,
}

impl Subject {
    /// A store with a device of each of these settings, of a tenant each; all but the first speak to a provider that can't tell
    /// what became of a message.
    pub(crate) async fn new(settings: &[DeviceSettings]) -> Self {
        let dir = folder();
        let clock = Clock::manual(Timestamp(START));
        let (host, rows, work) = open(&dir.path().join("0.db"), &clock).await;
        let mut tenants = Vec::new();
        for (device, settings) in settings.iter().enumerate() {
            let most = u32::try_from(MAX_PENDING).unwrap();
            let tenant = host
                .add_tenant(&format!("tenant {device}"), most)
                .await
                .unwrap();
            let new = NewDevice {
                id: translate::device_id(device),
                tenant: tenant.id.clone(),
                credentials: credentials(device),
                plugin: None,
                plugin_config: "{}".to_owned(),
                settings: settings.clone(),
            };
            host.add_device(new).await.unwrap();
            tenants.push(tenant.id);
        }
        Self {
            host,
            rows,
            work,
            clock,
            dir,
            restarts: 0,
            tenants,
            claims: BTreeMap::new(),
            turns: BTreeMap::new(),
            parts: BTreeMap::new(),
        }
    }

    /// Does it, and answers what the store answered and told.
    pub(crate) async fn take(&mut self, transition: &Transition) -> (Vec<Answer>, Vec<Order>) {
        let answer = match transition {
            Transition::Group(ops) => {
                let answers = self.group(ops).await;
                return (answers, self.orders().await);
            }
            Transition::Wait(ms) => {
                let ms = u64::try_from(*ms).unwrap();
                self.clock.advance(Duration::from_millis(ms));
                None
            }
            Transition::Drain => {
                self.host.drain();
                None
            }
            Transition::Halt => {
                self.host.halt();
                None
            }
            Transition::Restart => {
                self.restart().await;
                None
            }
            by_hand => Some(self.by_hand(by_hand).await),
        };
        (answer.into_iter().collect(), self.orders().await)
    }

    /// The operations go into one group, in their order: each asks before the next does.
    async fn group(&mut self, ops: &[Op]) -> Vec<Answer> {
        for op in ops {
            self.remember_parts(op);
        }
        let this = &*self;
        this.host.gather(ops.len());
        futures_util::future::join_all(ops.iter().map(|op| this.operate(op))).await
    }

    async fn operate(&self, op: &Op) -> Answer {
        match op {
            Op::Accept(device, events) => {
                let accept = Accept {
                    device: translate::device_id(*device),
                    events: events.iter().map(translate::event).collect(),
                };
                translate::accepted(self.host.accept(accept).await.unwrap())
            }
            Op::Finish(turn, hand, end) => {
                let finish = self.finish(*turn, *hand, end);
                translate::finished(self.host.finish(finish).await.unwrap())
            }
            Op::Settle(part, attempt, fate) => {
                let now = self.clock.now();
                let settle = translate::settle(*part, *attempt, *fate, now);
                self.host.settle(settle).await.unwrap();
                Answer::Settled
            }
            Op::Due => {
                let next = self.host.run_due().await.unwrap();
                Answer::Due(next.map(|at| (at.0, at.0)))
            }
        }
    }

    fn finish(&self, turn: Claimed, hand: Hand, end: &End) -> Finish {
        let given = &self.claims[&turn];
        let lock = Lock {
            conversation: translate::conversation_id(turn.conv),
            epoch: turn.epoch - i64::from(hand == Hand::OtherEpoch),
            owner: match hand {
                Hand::OtherOwner => "somebody else".to_owned(),
                Hand::Own | Hand::OtherEpoch => given.owner.clone(),
            },
        };
        let record = TurnRecord {
            turn: given.turn.clone(),
            attempt: given.attempt,
            plugin: None,
            cpu: Duration::ZERO,
            started_at: self.clock.now(),
        };
        Finish {
            lock,
            covered: given.covered.clone(),
            record,
            end: translate::end(turn, end, given.counter, self.clock.now()),
        }
    }

    async fn by_hand(&mut self, transition: &Transition) -> Answer {
        let conversation = translate::conversation_id;
        let done = match transition {
            Transition::Unlock(conv) => {
                let unlocked = self.host.unlock(&conversation(*conv)).await;
                unlocked.map(|()| ByHand::Done)
            }
            Transition::Pause(conv, ms) => {
                let until = ms.map(|ms| Timestamp(self.clock.now().0 + ms));
                self.host.pause(&conversation(*conv), until).await
            }
            Transition::Resume(conv) => self.host.resume(&conversation(*conv)).await,
            Transition::ReplayMessage(device, id) => {
                let id = self.message_id(*device, *id).await;
                self.host.replay(&id).await.map(|()| ByHand::Done)
            }
            Transition::ReplayPart(part) => {
                let id = translate::part_id(*part).to_string();
                self.host.replay(&id).await.map(|()| ByHand::Done)
            }
            other => panic!("{other:?} is nothing that is done by hand"),
        };
        match done {
            Ok(ByHand::Done) => Answer::Done,
            Ok(ByHand::WasSo) => Answer::WasSo,
            Err(Error::Refused(_)) => Answer::Refused,
            Err(Error::NotFound { .. }) => Answer::NotFound,
            Err(error) => panic!("{error}"),
        }
    }

    /// What the commits have told to do since it was asked last.
    async fn orders(&mut self) -> Vec<Order> {
        let mut orders = Vec::new();
        while let Some(work) = self.work.try_recv() {
            orders.push(match work {
                Work::Run(claim) => self.given(*claim).await,
                Work::Cancel {
                    conversation,
                    epoch,
                } => {
                    let conv = translate::conv(&conversation);
                    Order::Cancel(Claimed { conv, epoch })
                }
                Work::Send(part) => {
                    let piece = self.parts[part.id.as_str()];
                    assert_eq!(
                        part.prospect,
                        translate::prospect_id(piece.turn.conv.prospect)
                    );
                    assert_eq!(self.turns[part.turn.as_str()], piece.turn);
                    Order::Send(piece, part.attempt)
                }
            });
        }
        orders.sort();
        orders
    }

    async fn given(&mut self, claim: Claim) -> Order {
        let order = translate::claim(&claim);
        let Order::Run { turn, .. } = &order else {
            panic!("{order:?}");
        };
        let counter = self.counter_version(turn.conv).await;
        self.turns.insert(claim.turn.to_string(), *turn);
        let given = Given {
            owner: claim.lock.owner,
            turn: claim.turn,
            attempt: claim.attempt,
            covered: translate::covered(&claim.trigger),
            counter,
        };
        self.claims.insert(*turn, given);
        order
    }

    fn remember_parts(&mut self, op: &Op) {
        if let Op::Finish(turn, _, end) = op {
            for piece in translate::pieces(*turn, end) {
                self.parts
                    .insert(translate::part_id(piece).to_string(), piece);
            }
        }
    }

    /// kill -9 and another host: the files as they are at this moment.
    async fn restart(&mut self) {
        self.restarts += 1;
        let name = |n: u32, what: &str| self.dir.path().join(format!("{n}.db{what}"));
        for what in ["", "-wal"] {
            let from = name(self.restarts - 1, what);
            if from.exists() {
                std::fs::copy(from, name(self.restarts, what)).unwrap();
            }
        }
        let next = open(&name(self.restarts, ""), &self.clock).await;
        let (host, rows, work) = next;
        self.rows = rows;
        self.work = work;
        std::mem::replace(&mut self.host, host).close().await;
    }

    /// Everything that can be seen of it.
    pub(crate) async fn picture(&mut self) -> Picture {
        look::picture(self).await
    }

    /// What is in the rows and must not be, whatever the reference says.
    pub(crate) async fn broken(&mut self) -> Vec<(String, String)> {
        look::broken(&mut self.rows).await
    }

    pub(crate) async fn close(self) {
        self.host.close().await;
    }

    fn conv_of_turn(&self, turn: Option<&String>) -> String {
        let of = |id: &String| format!("{:?}", self.turns[id]);
        turn.map_or("nobody".to_owned(), of)
    }
}

/// In memory where there is such a place: what is tested here is what is written, and not that the disk has it.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .unwrap()
}

async fn open(path: &Path, clock: &Clock) -> (Host, SqliteConnection, WorkQueue) {
    let sealer = Sealer::new([7; 32]);
    let (host, work) = Host::open(path, clock.clone(), sealer).await.unwrap();
    let options = SqliteConnectOptions::new().filename(path);
    (host, options.connect().await.unwrap(), work)
}

fn credentials(device: usize) -> Credentials {
    if device == 0 {
        return Credentials::Whatsapp {
            app_secret: Secret::new("app-secret"),
            access_token: Secret::new("access-token"),
            verify_token: Secret::new("verify-token"),
            phone_number_id: "1122334455667".to_owned(),
            api_base: "http://127.0.0.1:9/v25.0".to_owned(),
        };
    }
    Credentials::Generic {
        inbound: vec![Secret::new("whsec_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")],
        outbound: vec![],
        url: "http://127.0.0.1:9/".to_owned(),
    }
}
