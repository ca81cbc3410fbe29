//! The load: webhooks over connections that stay open, each answered and replied to before its conversation is used again.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use futures_util::future::try_join_all;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use nodepath_model::Clock;
use tokio::net::TcpStream;

use crate::host::{DEVICE, Host};
use crate::provider::Provider;
use crate::webhook;

/// Messages under way at once, at saturation.
pub(crate) const IN_FLIGHT: usize = 256;

/// Conversations that they are spread over.
pub(crate) const CONVERSATIONS: usize = 2_000;

/// The steady load, in messages a second.
pub(crate) const STEADY_RATE: u32 = 100;

/// How long a reply may take before it counts as lost.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often the host's memory is looked at.
const MEMORY_EVERY: Duration = Duration::from_millis(500);

/// Connections that the steady load begins with. More are opened if these are all in use.
const STEADY_CONNECTIONS: usize = 16;

/// What the host answers from nothing but its being alive.
const ALIVE: &str = "/healthz";

/// How much earlier than a message is due its timer rings.
pub(crate) const TIMER: Duration = Duration::from_millis(2);

pub(crate) type Connection = SendRequest<Full<Bytes>>;

/// A closed loop: so many in flight, and as fast as it goes.
#[derive(Debug)]
pub(crate) struct Saturation {
    pub(crate) messages: u64,
    pub(crate) took: Duration,
    /// The host's CPU time meanwhile.
    pub(crate) cpu: Duration,
    /// The highest memory that was seen, in bytes.
    pub(crate) memory: u64,
    /// Commits of the host's store, and operations in them.
    pub(crate) commits: u64,
    pub(crate) operations: u64,
    pub(crate) latency: Latency,
}

impl Saturation {
    pub(crate) fn throughput(&self) -> f64 {
        self.messages as f64 / self.took.as_secs_f64()
    }

    pub(crate) fn cpu_micros(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.messages as f64
    }

    pub(crate) fn memory_mib(&self) -> f64 {
        self.memory as f64 / f64::from(1 << 20)
    }

    pub(crate) fn operations_per_commit(&self) -> f64 {
        self.operations as f64 / self.commits as f64
    }
}

/// How long it took to answer the webhook, and to reply.
#[derive(Debug, Default, Clone)]
pub(crate) struct Latency {
    pub(crate) acks: Vec<Duration>,
    pub(crate) replies: Vec<Duration>,
}

impl Latency {
    pub(crate) fn join(&mut self, other: Self) {
        self.acks.extend(other.acks);
        self.replies.extend(other.replies);
    }

    fn note(&mut self, exchange: &Exchange) {
        self.acks.push(exchange.ack);
        self.replies.push(exchange.reply);
    }
}

/// What one message took.
struct Exchange {
    ack: Duration,
    reply: Duration,
}

/// Writes to a host and waits for the replies at the provider.
pub(crate) struct Driver<'a> {
    host: &'a Host,
    provider: &'a Provider,
    /// Tells this driver's messages from those of any other run.
    run: u64,
    next: Cell<u64>,
    path: String,
    authority: String,
}

impl<'a> Driver<'a> {
    pub(crate) fn new(host: &'a Host, provider: &'a Provider) -> Self {
        Self {
            host,
            provider,
            run: Clock::System.now().0.unsigned_abs(),
            next: Cell::default(),
            path: format!("/webhooks/{DEVICE}"),
            authority: host.address.to_string(),
        }
    }

    /// The closed loop.
    pub(crate) async fn saturate(&self, time: Duration) -> Result<Saturation> {
        let idle: RefCell<VecDeque<usize>> = RefCell::new((0..CONVERSATIONS).collect());
        let mut connections = Vec::with_capacity(IN_FLIGHT);
        for _ in 0..IN_FLIGHT {
            connections.push(self.connect().await?);
        }
        let figures = self.host.figures().await?;
        let (cpu, started) = (self.host.cpu()?, Instant::now());
        let end = started + time;
        let loops = connections
            .into_iter()
            .map(|connection| self.write_until(end, connection, &idle));
        let memory = Cell::new(self.host.memory()?);
        let latencies = tokio::select! {
            latencies = try_join_all(loops) => latencies?,
            watched = self.watch_memory(&memory) => return Err(watched),
        };
        let (took, cpu) = (started.elapsed(), self.host.cpu()?.saturating_sub(cpu));
        let now = self.host.figures().await?;
        ensure!(
            self.provider.surplus() == 0,
            "{} replies arrived that nobody waited for",
            self.provider.surplus()
        );
        let mut latency = Latency::default();
        latencies.into_iter().for_each(|l| latency.join(l));
        Ok(Saturation {
            messages: latency.replies.len() as u64,
            took,
            cpu,
            memory: memory.get(),
            commits: now.commits - figures.commits,
            operations: now.operations - figures.operations,
            latency,
        })
    }

    async fn write_until(
        &self,
        end: Instant,
        mut connection: Connection,
        idle: &RefCell<VecDeque<usize>>,
    ) -> Result<Latency> {
        let mut latency = Latency::default();
        while Instant::now() < end {
            let conversation = idle.borrow_mut().pop_front();
            let conversation = conversation.context("no conversation is idle")?;
            let exchange = self.exchange(&mut connection, conversation, Instant::now());
            latency.note(&exchange.await?);
            idle.borrow_mut().push_back(conversation);
        }
        Ok(latency)
    }

    /// Keeps the highest that was seen; ends with an error only.
    async fn watch_memory(&self, highest: &Cell<u64>) -> anyhow::Error {
        loop {
            tokio::time::sleep(MEMORY_EVERY).await;
            match self.host.memory() {
                Ok(now) => highest.set(highest.get().max(now)),
                Err(error) => return error,
            }
        }
    }

    /// The open loop: a message every hundredth of a second, whether or not the last one is answered. Each is timed from the
    /// moment at which it was due.
    pub(crate) async fn steady(&self, time: Duration) -> Result<Latency> {
        let exchanges = self.at_pace(time, async |connection, n, due| {
            self.exchange(connection, n % CONVERSATIONS, due).await
        });
        let mut latency = Latency::default();
        for exchange in exchanges.await? {
            latency.note(&exchange);
        }
        Ok(latency)
    }

    /// At the pace of the steady load, requests that the host answers without doing anything: what is left of an ack when there
    /// is nothing to write down.
    pub(crate) async fn bare_answers(&self, time: Duration) -> Result<Vec<Duration>> {
        let answers = self.at_pace(time, async |connection, _, due| {
            let request = Request::get(ALIVE).header("host", &*self.authority);
            let answer = connection.send_request(request.body(Full::default())?);
            let answer = answer.await?;
            let status = answer.status();
            answer.into_body().collect().await?;
            ensure!(status == StatusCode::OK, "{ALIVE} was answered {status}");
            Ok(due.elapsed())
        });
        answers.await
    }

    async fn at_pace<T>(
        &self,
        time: Duration,
        each: impl AsyncFn(&mut Connection, usize, Instant) -> Result<T>,
    ) -> Result<Vec<T>> {
        let between = Duration::from_secs(1) / STEADY_RATE;
        let count = time.as_millis() / between.as_millis();
        let pool: RefCell<Vec<Connection>> = RefCell::default();
        for _ in 0..STEADY_CONNECTIONS {
            let connection = self.connect().await?;
            pool.borrow_mut().push(connection);
        }
        let begin = Instant::now() + between;
        let requests = (0..count as u32).map(|n| {
            let (pool, each) = (&pool, &each);
            let due = begin + between * n;
            async move {
                // Tokio's timers have whole milliseconds, and are late by up to one: the last ones are waited for awake.
                tokio::time::sleep_until((due - TIMER).into()).await;
                while Instant::now() < due {
                    tokio::task::yield_now().await;
                }
                let connection = pool.borrow_mut().pop();
                let mut connection = match connection {
                    Some(connection) => connection,
                    None => self.connect().await?,
                };
                let done = each(&mut connection, n as usize, due).await?;
                pool.borrow_mut().push(connection);
                anyhow::Ok(done)
            }
        });
        try_join_all(requests).await
    }

    /// One message: the webhook, its answer, its reply.
    async fn exchange(
        &self,
        connection: &mut Connection,
        conversation: usize,
        since: Instant,
    ) -> Result<Exchange> {
        let message = self.next.replace(self.next.get() + 1);
        let signed = webhook::text(conversation, message, self.run);
        let reply = self.provider.expect(conversation);
        let request = Request::post(&*self.path)
            .header("host", &*self.authority)
            .header("content-type", "application/json")
            .header("user-agent", "facebookexternalua")
            .header("x-hub-signature-256", signed.signature)
            .body(Full::from(signed.body))?;
        let answer = connection.send_request(request).await?;
        let status = answer.status();
        let body = answer.into_body().collect().await?.to_bytes();
        let ack = since.elapsed();
        ensure!(
            status == StatusCode::OK,
            "a webhook was answered {status}: {}",
            String::from_utf8_lossy(&body)
        );
        let reply = tokio::time::timeout(PATIENCE, reply)
            .await
            .with_context(|| format!("no reply within {PATIENCE:?}"))??;
        let expected = format!("You said: {}", webhook::words(message));
        ensure!(
            reply.text == expected,
            "{expected:?} became {:?}",
            reply.text
        );
        Ok(Exchange {
            ack,
            reply: reply.at.saturating_duration_since(since),
        })
    }

    async fn connect(&self) -> Result<Connection> {
        connect(self.host.address).await
    }
}

/// Opens a connection.
pub(crate) async fn connect(address: SocketAddr) -> Result<Connection> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::task::spawn_local(async move {
        // Its end is seen by whoever sends on it.
        drop(connection.await);
    });
    Ok(sender)
}
