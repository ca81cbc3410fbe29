//! A receiver of the generic channel that is only played: it checks signatures, remembers what came, and answers as it is told.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use serde_json::Value;

use super::stage::{Scissors, Script, Server, Watched};
use crate::model::{Credentials, Secret};

/// What the receiver does with one webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReceiverAnswer {
    /// Answers with this status.
    Status {
        /// The status.
        status: u16,
        /// What `Retry-After` says, if it is sent.
        retry_after: Option<Duration>,
    },
    /// Closes the connection without an answer.
    Cut,
    /// Never answers.
    Stall,
}

/// A webhook that came.
#[derive(Debug, Clone, PartialEq)]
pub struct Webhook {
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, byte by byte.
    pub bytes: Vec<u8>,
    /// Its body as JSON; null if it is none.
    pub json: Value,
}

/// A receiver that is only played. It ends when it is dropped.
pub struct FakeReceiver {
    shared: Arc<Shared>,
    server: Server,
}

#[derive(Default)]
struct Record {
    webhooks: Vec<Webhook>,
    unseen: VecDeque<Webhook>,
}

struct Shared {
    record: Watched<Record>,
    script: Watched<Script<ReceiverAnswer>>,
}

impl FakeReceiver {
    /// The secret that webhooks to the host are signed with.
    pub const INBOUND_SECRET: &str = "whsec_ZGVtby1pbmJvdW5kLXNlY3JldC0wMDAwMQ==";
    /// The secret that the host signs with.
    pub const OUTBOUND_SECRET: &str = "whsec_ZGVtby1vdXRib3VuZC1zZWNyZXQtMDAwMQ==";

    /// Starts it on a free port of the loopback interface.
    ///
    /// # Errors
    /// If there is no free port.
    pub async fn start() -> io::Result<Self> {
        let shared = Arc::new(Shared {
            record: Watched::new(Record::default()),
            script: Watched::new(Script::default()),
        });
        let router = Router::new()
            .route("/webhook", post(receive))
            .with_state(Arc::clone(&shared));
        Ok(Self {
            server: Server::start(router).await?,
            shared,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/webhook", self.server.address)
    }

    /// The credentials of a device that speaks to it.
    #[must_use]
    pub fn credentials(&self) -> Credentials {
        Credentials::Generic {
            inbound: vec![Secret::new(Self::INBOUND_SECRET)],
            outbound: vec![Secret::new(Self::OUTBOUND_SECRET)],
            url: self.url(),
        }
    }

    /// What it does with the next webhooks, one each; then it answers 200 again.
    pub fn script(&self, answers: impl IntoIterator<Item = ReceiverAnswer>) {
        self.shared
            .script
            .write(|script| script.answers.extend(answers));
    }

    /// Every webhook that came, in order.
    #[must_use]
    pub fn webhooks(&self) -> Vec<Webhook> {
        self.shared.record.read(|record| record.webhooks.clone())
    }

    /// The next webhook that `received` has not answered yet, whatever the receiver answered to it.
    pub async fn received(&self) -> Webhook {
        let take = |record: &mut Record| record.unseen.pop_front();
        self.shared.record.wait(take).await
    }
}

async fn receive(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(scissors): ConnectInfo<Scissors>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let webhook = Webhook {
        headers,
        json: serde_json::from_slice(&body).unwrap_or_default(),
        bytes: body.to_vec(),
    };
    shared.record.write(|record| {
        record.webhooks.push(webhook.clone());
        record.unseen.push_back(webhook);
    });
    match shared.script.write(|script| script.answers.pop_front()) {
        None => StatusCode::OK.into_response(),
        Some(ReceiverAnswer::Status {
            status,
            retry_after,
        }) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
            let mut response = status.into_response();
            if let Some(after) = retry_after {
                response
                    .headers_mut()
                    .insert(header::RETRY_AFTER, after.as_secs().into());
            }
            response
        }
        Some(ReceiverAnswer::Cut) => {
            scissors.cut();
            StatusCode::OK.into_response()
        }
        Some(ReceiverAnswer::Stall) => std::future::pending().await,
    }
}
