//! The provider's side: takes replies, and knows when each webhook was due.

use std::cell::RefCell;
use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::Result;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// What `echo` puts before what it was told.
const ECHO: &str = "You said: ";

/// What the innocent tenant's prospects wrote, and what they have on their screens.
#[derive(Clone, Default)]
pub(crate) struct Screens(Rc<RefCell<Seen>>);

#[derive(Default)]
struct Seen {
    due: HashMap<String, Instant>,
    answered: HashMap<String, u32>,
    /// When each answer was due, and how long it took.
    latencies: Vec<(Instant, Duration)>,
    unasked: u64,
}

impl Screens {
    /// A message is due now, whenever it is really sent.
    pub(crate) fn asked(&self, id: &str, due: Instant) {
        self.0.borrow_mut().due.insert(id.to_owned(), due);
    }

    /// A reply came. One to a burst answers each line of it.
    fn shows(&self, text: &str, now: Instant) {
        let mut seen = self.0.borrow_mut();
        let Some(said) = text.strip_prefix(ECHO) else {
            return;
        };
        for id in said.lines() {
            let Some(due) = seen.due.get(id).copied() else {
                seen.unasked += 1;
                continue;
            };
            *seen.answered.entry(id.to_owned()).or_default() += 1;
            seen.latencies.push((due, now - due));
        }
    }

    /// How long the answers took that were due in this time.
    pub(crate) fn latencies(&self, from: Instant, to: Instant) -> Vec<Duration> {
        let seen = self.0.borrow();
        let within = seen
            .latencies
            .iter()
            .filter(|(due, _)| (from..to).contains(due));
        within.map(|(_, latency)| *latency).collect()
    }

    /// How many messages are without an answer, and how many have more than one.
    pub(crate) fn wrong(&self) -> (usize, usize) {
        let seen = self.0.borrow();
        let lost = seen
            .due
            .keys()
            .filter(|id| !seen.answered.contains_key(*id));
        let doubled = seen.answered.values().filter(|count| **count > 1);
        (
            lost.count(),
            doubled.count() + usize::try_from(seen.unasked).unwrap_or(usize::MAX),
        )
    }
}

/// Starts it on a free port.
pub(crate) async fn start(screens: Screens) -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::task::spawn_local(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            stream.set_nodelay(true).ok();
            let screens = screens.clone();
            let answer = service_fn(move |request| take(screens.clone(), request));
            let server = hyper::server::conn::http1::Builder::new();
            connections.spawn_local(server.serve_connection(TokioIo::new(stream), answer));
            while connections.try_join_next().is_some() {}
        }
    });
    Ok(address)
}

async fn take(
    screens: Screens,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let body = request.into_body().collect().await;
    let body = body.map(|body| body.to_bytes()).unwrap_or_default();
    let json: Value = serde_json::from_slice(&body).unwrap_or_default();
    let at = |pointer: &str| {
        json.pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    screens.shows(at("/text/body"), Instant::now());
    let answer = json!({
        "messaging_product": "whatsapp",
        "messages": [{ "id": format!("wamid.{}", at("/biz_opaque_callback_data")) }],
    });
    Ok(Response::new(Full::new(Bytes::from(answer.to_string()))))
}
