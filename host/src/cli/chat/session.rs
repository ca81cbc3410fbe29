//! One conversation with a plugin: a host on a store that is thrown away, and a prospect who sits at the terminal.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context as _;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::line::{Line, value_text};
use crate::model::delivery::PartKind;
use crate::model::effect::Scope;
use crate::model::secret::Sealer;
use crate::model::{
    ChannelKind, Clock, Content, ConversationId, Credentials, DeviceId, DeviceSettings, Digest,
    Event, InboundMessage, ProspectId, Secret, TenantId, Timestamp,
};
use crate::plugin::Runtime;
use crate::store::{
    Accept, Accepted, ByHand, ConversationDetail, Fate, Host, NewDevice, NewPlugin, Settle,
    Settled, Work, WorkQueue,
};
use crate::turn::{Seen, Turns};

/// A number that the telephone companies keep for fiction.
const PROSPECT: &str = "15550100";

/// As many values as `/state` shows of each scope.
const VALUES: u32 = 1_000;

/// The plugin that is talked to.
pub(super) struct Candidate {
    pub(super) digest: Digest,
    pub(super) component: Vec<u8>,
    pub(super) config: String,
    pub(super) channel: ChannelKind,
    pub(super) attempts: u32,
}

/// A conversation.
pub(super) struct Session {
    host: Arc<Host>,
    work: WorkQueue,
    turns: Turns,
    seen: UnboundedReceiver<Seen>,
    tenant: TenantId,
    device: DeviceId,
    prospect: ProspectId,
    conversation: ConversationId,
    /// It goes on by itself only when something is asked for, so that nothing happens while somebody reads.
    clock: Clock,
    moved_at: Instant,
    messages: u64,
    /// What is written on the buttons that were shown, by their ids.
    titles: BTreeMap<String, String>,
    _dir: tempfile::TempDir,
}

impl Session {
    pub(super) async fn open(
        runtime: &Runtime,
        candidate: &Candidate,
        now: Timestamp,
    ) -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new()
            .prefix("nodepath-chat-")
            .tempdir()
            .context(
                "can't make a temporary directory; set TMPDIR to a place where this user may write",
            )?;
        let clock = Clock::manual(now);
        let sealer = Sealer::from_base64(&Sealer::generate_base64())?;
        let (host, work) = Host::open(&dir.path().join("chat.db"), clock.clone(), sealer).await?;
        let tenant = host.add_tenant("chat", 1).await?.id;
        let device = set_up(&host, &tenant, candidate).await?;
        let prospect = ProspectId::parse(PROSPECT)?;
        let host = Arc::new(host);
        let (onlooker, seen) = unbounded_channel();
        Ok(Self {
            turns: Turns::watched(host.clone(), runtime.clone(), onlooker),
            conversation: ConversationId::of(&device, &prospect),
            host,
            work,
            seen,
            tenant,
            device,
            prospect,
            clock,
            moved_at: Instant::now(),
            messages: 0,
            titles: BTreeMap::new(),
            _dir: dir,
        })
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Says something, and shows everything that follows.
    pub(super) async fn say(&mut self, content: Content) -> anyhow::Result<Vec<Line>> {
        self.pass_time();
        self.messages += 1;
        let message = InboundMessage {
            provider_id: format!("chat.{}", self.messages),
            prospect: self.prospect.clone(),
            alias: None,
            prospect_name: Some("You".to_owned()),
            sent_at: self.now(),
            content,
            reply_to: None,
            ext: vec![],
        };
        let accept = Accept {
            device: self.device.clone(),
            events: vec![Event::Message(message)],
        };
        let accepted = self.host.accept(accept).await?;
        let mut lines = self.until_quiet().await?;
        if let Accepted::Stored(fates) = accepted
            && fates.iter().any(|fate| matches!(fate, Fate::Absorbed(_)))
        {
            lines.push(Line::note("a human has this conversation, so the plugin does not see it; /resume hands it back"));
        }
        Ok(lines)
    }

    /// Presses a button.
    pub(super) async fn press(&mut self, id: &str) -> anyhow::Result<Vec<Line>> {
        let title = self.titles.get(id).cloned();
        let unknown = title.is_none().then(|| {
            Line::note(format!(
                "no button {id} was shown; it is pressed all the same"
            ))
        });
        let content = Content::Interactive {
            id: id.to_owned(),
            title: title.unwrap_or_else(|| id.to_owned()),
        };
        let mut lines: Vec<_> = unknown.into_iter().collect();
        lines.extend(self.say(content).await?);
        Ok(lines)
    }

    /// Moves the time to the next timer.
    pub(super) async fn fire_timer(&mut self) -> anyhow::Result<Vec<Line>> {
        self.pass_time();
        let timer = match self.detail().await? {
            Some(detail) => detail.timers.into_iter().next(),
            None => None,
        };
        let Some((name, due)) = timer else {
            return Ok(vec![Line::note("no timer is set")]);
        };
        self.move_to(Timestamp(due));
        let mut lines = vec![Line::note(format!("the timer {name} fires"))];
        lines.extend(self.until_quiet().await?);
        Ok(lines)
    }

    /// Hands the conversation back to the plugin.
    pub(super) async fn resume(&mut self) -> anyhow::Result<Vec<Line>> {
        self.pass_time();
        match self.host.resume(&self.conversation).await {
            Ok(ByHand::Done) => self.until_quiet().await,
            Ok(ByHand::WasSo) | Err(crate::store::Error::NotFound { .. }) => {
                Ok(vec![Line::note("the plugin has the conversation")])
            }
            Err(error) => Err(error.into()),
        }
    }

    /// What the plugin keeps.
    pub(super) async fn state(&self) -> anyhow::Result<Vec<Line>> {
        let mut lines = Vec::new();
        for scope in [Scope::Conversation, Scope::Prospect, Scope::Tenant] {
            let (tenant, conversation, prospect) =
                (&self.tenant, &self.conversation, &self.prospect);
            let keys = self
                .host
                .kept_keys(tenant, conversation, prospect, scope, "", None, VALUES)
                .await?;
            for key in keys {
                if let Some(kept) = self
                    .host
                    .kept(tenant, conversation, prospect, scope, &key)
                    .await?
                {
                    let value = value_text(&kept.value);
                    lines.push(Line::State { scope, key, value });
                }
            }
        }
        if lines.is_empty() {
            lines.push(Line::note("the plugin keeps nothing"));
        }
        Ok(lines)
    }

    /// Does all that is to do: turns, their replies, and their retries, for which nobody waits.
    async fn until_quiet(&mut self) -> anyhow::Result<Vec<Line>> {
        let mut lines = Vec::new();
        loop {
            let next = self.host.run_due().await?;
            let mut did_something = false;
            while let Some(work) = self.work.try_recv() {
                self.work_on(work, &mut lines).await?;
                did_something = true;
            }
            if did_something {
                continue;
            }
            let is_idle = self
                .detail()
                .await?
                .is_none_or(|d| d.summary.state == "idle");
            match next {
                Some(at) if !is_idle => self.move_to(at),
                _ => return Ok(lines),
            }
        }
    }

    async fn work_on(&mut self, work: Work, lines: &mut Vec<Line>) -> anyhow::Result<()> {
        match work {
            Work::Run(claim) => {
                self.turns.start(*claim);
                self.turns.idle().await;
                self.take_seen(lines);
            }
            Work::Send(part) => {
                if let PartKind::Buttons { buttons, .. } = &part.body.kind {
                    self.titles
                        .extend(buttons.iter().map(|b| (b.id.clone(), b.title.clone())));
                }
                let settle = Settle {
                    attempt: part.attempt,
                    result: Settled::Sent {
                        provider_id: Some(format!("chat.{}", part.id)),
                    },
                    part: part.id,
                };
                self.host.settle(settle).await?;
                lines.push(Line::Reply {
                    message: part.body.kind,
                });
            }
            // A turn ends before the next line is read, so there is none to stop.
            Work::Cancel { .. } => {}
        }
        Ok(())
    }

    /// Signs of presence come first: they left before the plugin ended.
    fn take_seen(&mut self, lines: &mut Vec<Line>) {
        let now = self.now();
        let mut runs = Vec::new();
        while let Ok(seen) = self.seen.try_recv() {
            match seen {
                Seen::Presence(sign) => lines.push(Line::presence(sign)),
                Seen::Ran(run) => runs.extend(Line::of_run(*run, now)),
            }
        }
        lines.extend(runs);
    }

    /// The conversation; none before the first message.
    async fn detail(&self) -> anyhow::Result<Option<ConversationDetail>> {
        match self.host.conversation(&self.conversation).await {
            Ok(detail) => Ok(Some(detail)),
            Err(crate::store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn pass_time(&mut self) {
        self.clock.advance(self.moved_at.elapsed());
        self.moved_at = Instant::now();
    }

    fn move_to(&self, at: Timestamp) {
        self.clock.advance(at.since(self.now()));
    }
}

/// A device that this plugin answers.
async fn set_up(host: &Host, tenant: &TenantId, candidate: &Candidate) -> anyhow::Result<DeviceId> {
    host.add_plugin(NewPlugin {
        tenant: tenant.clone(),
        digest: candidate.digest.clone(),
        name: "chat".to_owned(),
        version: String::new(),
        manifest: "{}".to_owned(),
        component: candidate.component.clone(),
    })
    .await?;
    let device = DeviceId::parse("chat")?;
    host.add_device(NewDevice {
        id: device.clone(),
        tenant: tenant.clone(),
        credentials: credentials(candidate.channel),
        plugin: Some(candidate.digest.clone()),
        plugin_config: candidate.config.clone(),
        settings: DeviceSettings {
            max_attempts: candidate.attempts,
            // Who types the same thing twice here means it.
            duplicate_window_ms: 0,
            ..DeviceSettings::default()
        },
    })
    .await?;
    Ok(device)
}

/// Credentials for a provider that there is none of: nothing is ever sent.
fn credentials(channel: ChannelKind) -> Credentials {
    let none = || Secret::new("none");
    match channel {
        ChannelKind::Whatsapp => Credentials::Whatsapp {
            app_secret: none(),
            access_token: none(),
            verify_token: none(),
            phone_number_id: "0".to_owned(),
            api_base: String::new(),
        },
        ChannelKind::Generic => Credentials::Generic {
            inbound: vec![none()],
            outbound: vec![none()],
            url: String::new(),
        },
    }
}
