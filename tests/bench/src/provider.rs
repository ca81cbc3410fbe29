//! The played Graph API: takes every reply, answers with an id, and says at once who was answered.

use std::cell::RefCell;
use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Instant;

use anyhow::Result;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::webhook;

/// A reply, as it arrived.
pub(crate) struct Reply {
    pub(crate) text: String,
    pub(crate) at: Instant,
}

/// The provider. Everything is on one thread, so its book needs no lock.
pub(crate) struct Provider {
    address: SocketAddr,
    book: Rc<RefCell<Book>>,
}

#[derive(Default)]
struct Book {
    waiting: HashMap<usize, oneshot::Sender<Reply>>,
    taken: u64,
    /// Replies that nobody waited for: answered twice, or never asked.
    surplus: u64,
}

impl Provider {
    /// Starts it on a free port.
    pub(crate) async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let book = Rc::new(RefCell::new(Book::default()));
        let shared = book.clone();
        tokio::task::spawn_local(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let book = shared.clone();
                // As Graph does, and as the load does: small answers leave at once.
                drop(stream.set_nodelay(true));
                tokio::task::spawn_local(async move {
                    let service = service_fn(|request| take(book.clone(), request));
                    // A host that goes away closes its connections as it likes.
                    drop(
                        http1::Builder::new()
                            .serve_connection(TokioIo::new(stream), service)
                            .await,
                    );
                });
            }
        });
        Ok(Self { address, book })
    }

    /// What the device's credentials call `api_base`.
    pub(crate) fn api_base(&self) -> String {
        format!("http://{}/v25.0", self.address)
    }

    /// Answers with the next reply to this conversation.
    pub(crate) fn expect(&self, conversation: usize) -> oneshot::Receiver<Reply> {
        let (sender, reply) = oneshot::channel();
        self.book.borrow_mut().waiting.insert(conversation, sender);
        reply
    }

    /// Replies that nobody waited for.
    pub(crate) fn surplus(&self) -> u64 {
        self.book.borrow().surplus
    }
}

/// What counts of a request to send a message.
#[derive(serde::Deserialize)]
struct Sent {
    to: String,
    text: Text,
}

#[derive(serde::Deserialize)]
struct Text {
    body: String,
}

async fn take(
    book: Rc<RefCell<Book>>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let answer = match request.into_body().collect().await {
        Ok(body) => note(&book, &body.to_bytes()),
        Err(_) => None,
    };
    let response = match answer {
        Some(answer) => Response::builder()
            .header("content-type", "application/json; charset=UTF-8")
            .body(Full::from(answer)),
        None => Response::builder().status(400).body(Full::default()),
    };
    Ok(response.unwrap_or_default())
}

fn note(book: &RefCell<Book>, body: &[u8]) -> Option<String> {
    let sent: Sent = serde_json::from_slice(body).ok()?;
    let conversation = webhook::conversation(&sent.to)?;
    let mut book = book.borrow_mut();
    book.taken += 1;
    let reply = Reply {
        text: sent.text.body,
        at: Instant::now(),
    };
    match book.waiting.remove(&conversation) {
        // Whoever waited may have given up.
        Some(waiting) => drop(waiting.send(reply)),
        None => book.surplus += 1,
    }
    let (to, id) = (sent.to, book.taken);
    Some(format!(
        r#"{{"messaging_product":"whatsapp","contacts":[{{"input":"{to}","wa_id":"{to}"}}],"messages":[{{"id":"wamid.HBgLMTY0NjcwNDM1OTUVAgARGBI1{id:016x}AA=="}}]}}"#
    ))
}
