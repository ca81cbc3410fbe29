//! A WhatsApp Cloud API that is only played: a real HTTP server that checks requests as strictly as Graph does, remembers them,
//! and answers as it is told. It knows the truth about what arrived, whatever the host believes.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use serde_json::{Value, json};

use super::graph_rules::{self, GraphError};
use super::stage::{Scissors, Script, Server, Watched};
use crate::model::{Credentials, Secret};

/// What a test or the demo makes the provider do with one message, instead of taking it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Takes it and says so.
    Take,
    /// Takes it, and says so only this much later.
    TakeLate(Duration),
    /// Refuses it with an error of Graph's.
    Refuse {
        /// Graph's error code.
        code: i64,
        /// What `Retry-After` says, if it is sent.
        retry_after: Option<Duration>,
    },
    /// Answers with this HTTP status and no JSON, as something in between does. The message is not taken.
    Status {
        /// The status.
        status: u16,
        /// What `Retry-After` says, if it is sent.
        retry_after: Option<Duration>,
    },
    /// Takes it, but the answer is lost: the connection closes.
    TakeAndCut,
    /// Does not take it, and the connection closes without an answer.
    LoseAndCut,
    /// Takes it and never answers.
    TakeAndStall,
    /// Does not take it, and never answers.
    LoseAndStall,
}

impl Answer {
    fn takes(&self) -> bool {
        matches!(
            self,
            Self::Take | Self::TakeLate(_) | Self::TakeAndCut | Self::TakeAndStall
        )
    }

    /// Whether whoever gets this answer knows that the message was not taken.
    #[must_use]
    pub fn refuses(&self) -> bool {
        match self {
            Self::Refuse { .. } => true,
            // What broke, or stands in between, can't tell whether the message was taken. 503 says that nothing was done.
            Self::Status { status, .. } => *status < 500 || *status == 503,
            _ => false,
        }
    }
}

/// A message that came to the provider, whether it was taken or not.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// Who is to get it: the phone number or the business-scoped user id.
    pub to: String,
    /// Graph's word for its type.
    pub kind: String,
    /// The text, the text above buttons, or the caption.
    pub text: Option<String>,
    /// Our id, as the status webhooks give it back.
    pub callback: Option<String>,
    /// The whole request.
    pub body: Value,
    /// The provider's id, if it took the message: the prospect has it on the screen.
    pub wamid: Option<String>,
    /// Why Graph refused it by its own rules.
    pub refusal: Option<GraphError>,
    /// What it was answered, unless Graph's rules refused it.
    pub answer: Answer,
    /// When it was decided on. It is remembered before it is answered.
    pub at: Instant,
}

/// A provider that is only played. It ends when it is dropped.
pub struct FakeWhatsApp {
    shared: Arc<Shared>,
    server: Server,
}

struct Shared {
    phone_number_id: String,
    access_token: String,
    record: Watched<Record>,
    script: Watched<Script<Answer>>,
}

#[derive(Default)]
struct Record {
    requests: Vec<Request>,
    /// Those of `requests` that were taken and that `sent` has not handed out.
    unseen: VecDeque<Request>,
    arrived: usize,
    taken: usize,
    presence: Vec<Value>,
}

impl FakeWhatsApp {
    /// The secret that its webhooks are signed with.
    pub const APP_SECRET: &str = "demo-app-secret";
    /// What it repeats in the GET challenge.
    pub const VERIFY_TOKEN: &str = "demo-verify-token";
    /// The token that it asks for.
    pub const ACCESS_TOKEN: &str = "demo-access-token";
    /// The business's number at Meta.
    pub const PHONE_NUMBER_ID: &str = "1122334455667";

    /// Starts it on a free port of the loopback interface.
    ///
    /// # Errors
    /// If there is no free port.
    pub async fn start() -> io::Result<Self> {
        let shared = Arc::new(Shared {
            phone_number_id: Self::PHONE_NUMBER_ID.to_owned(),
            access_token: Self::ACCESS_TOKEN.to_owned(),
            record: Watched::new(Record::default()),
            script: Watched::new(Script::default()),
        });
        let router = Router::new()
            .route("/{version}/{phone_number_id}/messages", post(messages))
            .with_state(Arc::clone(&shared));
        Ok(Self {
            server: Server::start(router).await?,
            shared,
        })
    }

    /// Where its Graph API is, with a version as Meta's has.
    #[must_use]
    pub fn api_base(&self) -> String {
        format!("http://{}/v25.0", self.server.address)
    }

    /// The credentials of a device that speaks to it.
    #[must_use]
    pub fn credentials(&self) -> Credentials {
        Credentials::Whatsapp {
            app_secret: Secret::new(Self::APP_SECRET),
            access_token: Secret::new(Self::ACCESS_TOKEN),
            verify_token: Secret::new(Self::VERIFY_TOKEN),
            phone_number_id: Self::PHONE_NUMBER_ID.to_owned(),
            api_base: self.api_base(),
        }
    }

    /// What it does with the next messages, one each; then it takes them again.
    pub fn script(&self, answers: impl IntoIterator<Item = Answer>) {
        self.shared
            .script
            .write(|script| script.answers.extend(answers));
    }

    /// Forgets what is left of the script: from now on it takes messages.
    pub fn behave(&self) {
        self.shared.script.write(|script| script.answers.clear());
    }

    /// From now on it lets messages in, but decides and answers nothing until `release`. One whose sender goes away meanwhile
    /// was never there.
    pub fn hold(&self) {
        self.shared.script.write(|script| script.is_held = true);
    }

    /// Goes on with what `hold` has held up.
    pub fn release(&self) {
        self.shared.script.write(|script| script.is_held = false);
    }

    /// Every message that came, in order.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.shared.record.read(|record| record.requests.clone())
    }

    /// The messages that it took, in order: what prospects have on their screens.
    #[must_use]
    pub fn taken(&self) -> Vec<Request> {
        let mut requests = self.requests();
        requests.retain(|request| request.wamid.is_some());
        requests
    }

    /// The read marks and typing signs that came.
    #[must_use]
    pub fn presence(&self) -> Vec<Value> {
        self.shared.record.read(|record| record.presence.clone())
    }

    /// The next message that it takes and that `sent` has not answered yet. It waits for as long as that is.
    pub async fn sent(&self) -> Request {
        let take = |record: &mut Record| record.unseen.pop_front();
        self.shared.record.wait(take).await
    }

    /// Waits until `count` messages are in, even if `hold` keeps it from deciding on them.
    pub async fn wait_for_arrivals(&self, count: usize) {
        let look = |record: &mut Record| (record.arrived >= count).then_some(());
        self.shared.record.wait(look).await;
    }

    /// Waits until `count` messages have come and it has decided on them, whatever became of them.
    pub async fn wait_for_requests(&self, count: usize) -> Vec<Request> {
        let look =
            |record: &mut Record| (record.requests.len() >= count).then(|| record.requests.clone());
        self.shared.record.wait(look).await
    }

    /// Waits until it has taken `count` messages.
    pub async fn wait_for(&self, count: usize) -> Vec<Request> {
        self.shared
            .record
            .wait(|record| (record.taken >= count).then_some(()))
            .await;
        self.taken()
    }

    /// Waits until `count` signs of presence have come.
    pub async fn wait_for_presence(&self, count: usize) -> Vec<Value> {
        let look =
            |record: &mut Record| (record.presence.len() >= count).then(|| record.presence.clone());
        self.shared.record.wait(look).await
    }
}

/// `POST /{version}/{phone_number_id}/messages`
async fn messages(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(scissors): ConnectInfo<Scissors>,
    Path((_, phone_number_id)): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let json = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let verdict = shared
        .check_access(&headers, &phone_number_id)
        .and_then(|()| graph_rules::check(&json));
    if let Some("read") = json.get("status").and_then(Value::as_str) {
        shared.record.write(|record| record.presence.push(json));
        return match verdict {
            Ok(()) => reply(StatusCode::OK, None, &json!({ "success": true })),
            Err(error) => refuse(&error, None),
        };
    }
    shared.record.write(|record| record.arrived += 1);
    let answer = shared.next_answer().await;
    shared.receive(json, verdict, answer, &scissors).await
}

impl Shared {
    fn check_access(&self, headers: &HeaderMap, phone_number_id: &str) -> Result<(), GraphError> {
        let token = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        if token != Some(self.access_token.as_str()) {
            return Err(GraphError::invalid_token());
        }
        if phone_number_id != self.phone_number_id {
            return Err(GraphError::no_such_number(phone_number_id));
        }
        Ok(())
    }

    /// Waits at the gate; then the script's next answer.
    async fn next_answer(&self) -> Answer {
        let next = |script: &mut Script<Answer>| {
            (!script.is_held).then(|| script.answers.pop_front().unwrap_or(Answer::Take))
        };
        self.script.wait(next).await
    }

    async fn receive(
        &self,
        body: Value,
        verdict: Result<(), GraphError>,
        answer: Answer,
        scissors: &Scissors,
    ) -> Response {
        let refusal = verdict.err();
        let request = self.remember(body, refusal.clone(), answer.clone());
        if let (Answer::TakeLate(pause), None) = (&answer, &refusal) {
            tokio::time::sleep(*pause).await;
        }
        match (answer, refusal) {
            (Answer::TakeAndCut | Answer::LoseAndCut, _) => {
                scissors.cut();
                StatusCode::OK.into_response()
            }
            (Answer::TakeAndStall | Answer::LoseAndStall, _) => std::future::pending().await,
            (
                Answer::Status {
                    status,
                    retry_after,
                },
                _,
            ) => {
                let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
                with_retry_after((status, "upstream trouble").into_response(), retry_after)
            }
            (Answer::Refuse { code, retry_after }, _) => {
                refuse(&GraphError::of_code(code), retry_after)
            }
            (Answer::Take | Answer::TakeLate(_), Some(error)) => refuse(&error, None),
            (Answer::Take | Answer::TakeLate(_), None) => reply(
                StatusCode::OK,
                None,
                &json!({
                    "messaging_product": "whatsapp",
                    "contacts": [{ "input": request.to, "wa_id": request.to }],
                    "messages": [{ "id": request.wamid }],
                }),
            ),
        }
    }

    fn remember(&self, body: Value, refusal: Option<GraphError>, answer: Answer) -> Request {
        let at = |pointer: &str| {
            let value = body.pointer(pointer)?;
            value.as_str().map(str::to_owned)
        };
        let kind = at("/type").unwrap_or_default();
        let text = at("/text/body")
            .or_else(|| at("/interactive/body/text"))
            .or_else(|| at(&format!("/{kind}/caption")));
        let to = at("/to").or_else(|| at("/recipient"));
        let callback = at("/biz_opaque_callback_data");
        self.record.write(|record| {
            let is_taken = answer.takes() && refusal.is_none();
            let wamid = is_taken.then(|| format!("wamid.demo{}", record.taken + 1));
            let request = Request {
                to: to.unwrap_or_default(),
                kind,
                text,
                callback,
                wamid,
                refusal,
                body,
                answer,
                at: Instant::now(),
            };
            record.requests.push(request.clone());
            if is_taken {
                record.taken += 1;
                record.unseen.push_back(request.clone());
            }
            request
        })
    }
}

fn refuse(error: &GraphError, retry_after: Option<Duration>) -> Response {
    let status = StatusCode::from_u16(error.status).unwrap_or(StatusCode::BAD_REQUEST);
    reply(status, retry_after, &error.to_json())
}

fn reply(status: StatusCode, retry_after: Option<Duration>, body: &Value) -> Response {
    with_retry_after((status, axum::Json(body)).into_response(), retry_after)
}

fn with_retry_after(mut response: Response, retry_after: Option<Duration>) -> Response {
    if let Some(after) = retry_after {
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, after.as_secs().into());
    }
    response
}
