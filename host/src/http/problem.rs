//! What a caller is told when something can't be done: RFC 9457 problem details. The mapping from errors is here and nowhere
//! else, and an error of ours tells the caller nothing of our insides.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::channel::{ParseError, VerifyError};
use crate::store;

/// How long a caller that is turned away should wait, in seconds. A backlog of a thousand messages is gone by then.
const RETRY_AFTER_SECONDS: u16 = 5;

/// Something that can't be done.
#[derive(Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    title: &'static str,
    detail: String,
}

#[derive(Serialize)]
struct Body {
    r#type: &'static str,
    title: &'static str,
    status: u16,
    detail: String,
}

impl Problem {
    fn new(status: StatusCode, title: &'static str, detail: impl Into<String>) -> Self {
        Self {
            status,
            title,
            detail: detail.into(),
        }
    }

    /// What it is answered with.
    pub(super) fn status(&self) -> u16 {
        self.status.as_u16()
    }

    pub(super) fn busy() -> Self {
        let detail = "many webhooks of this device are being read; deliver this again";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "Device busy", detail)
    }

    pub(super) fn too_large(limit: usize) -> Self {
        let detail = format!("this channel's webhooks have at most {limit} bytes");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "Body too large", detail)
    }

    pub(super) fn too_slow() -> Self {
        Self::new(
            StatusCode::REQUEST_TIMEOUT,
            "Body too slow",
            "send the whole body at once",
        )
    }

    pub(super) fn broken_body() -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "Body broken off",
            "the connection broke before the body was complete",
        )
    }

    pub(super) fn full() -> Self {
        let detail =
            "too many messages of this tenant wait for their turn; deliver this again later";
        Self::new(StatusCode::TOO_MANY_REQUESTS, "Inbox full", detail)
    }

    pub(super) fn forbidden(detail: String) -> Self {
        Self::new(StatusCode::FORBIDDEN, "Challenge refused", detail)
    }

    pub(super) fn no_such_device() -> Self {
        let detail =
            "no device has this webhook address; `nodepath device list` shows those that there are";
        Self::new(StatusCode::NOT_FOUND, "Unknown device", detail)
    }
}

impl From<VerifyError> for Problem {
    fn from(error: VerifyError) -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "Signature wrong",
            error.to_string(),
        )
    }
}

impl From<ParseError> for Problem {
    fn from(error: ParseError) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "Body unreadable",
            error.to_string(),
        )
    }
}

impl From<store::Error> for Problem {
    fn from(error: store::Error) -> Self {
        match error {
            store::Error::NotFound { what: "device", .. } => Self::no_such_device(),
            error => {
                tracing::error!(%error, "http: the store failed");
                let detail =
                    "the store can't be reached now; nothing was taken, deliver this again";
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "Store down", detail)
            }
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Self {
            status,
            title,
            detail,
        } = self;
        let body = Body {
            r#type: "about:blank",
            title,
            status: status.as_u16(),
            detail,
        };
        let mut response = (status, Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if matches!(
            status,
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
        ) {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS));
        }
        response
    }
}

pub(super) async fn no_such_path() -> Problem {
    let detail = "webhooks are at /webhooks/<device id>";
    Problem::new(StatusCode::NOT_FOUND, "No such path", detail)
}
