//! What an error of the Graph API means for the part that was to be sent.
//!
//! The codes are those of "Error codes" in Meta's Cloud API documentation.

use std::time::Duration;

use serde_json::Value;

use super::super::client::{Answer, MAX_WHY_CHARS};
use super::super::json::{shorten, text};
use crate::model::Delivery;
use crate::model::delivery::DeadScope;

/// 131056: one business number may write to one prospect once in 6 s on average.
const PAIR_RATE: i64 = 131_056;
const PAIR_RATE_PAUSE: Duration = Duration::from_secs(6);

/// 100 with this subcode: the number's id does not exist, or the token may not use it.
const NO_SUCH_OBJECT: i64 = 33;

/// What an answer other than success means.
pub(super) fn classify(answer: &Answer) -> Delivery {
    let json = answer.json();
    let error = json.as_ref().and_then(|json| json.get("error"));
    match error {
        Some(error) if error.is_object() => of_error(error, answer),
        _ => of_status(answer),
    }
}

/// Graph's own word: it did not take the message.
pub(super) fn of_error(error: &Value, answer: &Answer) -> Delivery {
    let number = |key: &str| error.get(key).and_then(Value::as_i64);
    let why = describe(error);
    let transient = error.get("is_transient").and_then(Value::as_bool) == Some(true);
    let dead = |scope| Delivery::Dead {
        why: why.clone(),
        scope,
    };
    match number("code") {
        Some(100) if number("error_subcode") == Some(NO_SUCH_OBJECT) => dead(DeadScope::Device),
        // Unknown and temporary errors, rate limits, a service or an account in maintenance.
        Some(
            1 | 2 | 4 | 80_007 | 130_429 | 131_000 | 131_016 | 131_057 | 133_004 | 133_016
            | PAIR_RATE,
        ) => Delivery::Retry {
            after: answer
                .retry_after
                .or((number("code") == Some(PAIR_RATE)).then_some(PAIR_RATE_PAUSE)),
            why,
        },
        // The token or its permissions; the account is blocked, restricted, unpaid, unregistered or flagged as spam.
        Some(
            0
            | 3
            | 10
            | 190
            | 200..=299
            | 368
            | 131_005
            | 131_031
            | 131_037
            | 131_042
            | 131_045
            | 131_048
            | 131_064
            | 133_010,
        ) => dead(DeadScope::Device),
        // Known ones about this message or this prospect: 100, 130472, 131008, 131009, 131026, 131030, 131047, 131049, 131051 to
        // 131053, 131062, 132000 to 132069, … A code that is new here counts as one unless Graph says that it will pass.
        Some(_) if !transient && answer.status < 500 && answer.status != 429 => {
            dead(DeadScope::Message)
        }
        _ => Delivery::Retry {
            after: answer.retry_after,
            why,
        },
    }
}

/// Something between Graph and us answered, or Graph broke: only the HTTP status tells.
fn of_status(answer: &Answer) -> Delivery {
    let why = answer.why();
    match answer.status {
        // Turned away before anything was done with the request.
        408 | 425 | 429 | 503 => Delivery::Retry {
            after: answer.retry_after,
            why,
        },
        // A gateway that lost its upstream can't tell whether that took the message, and neither can a server that broke.
        500.. => Delivery::Unknown { why },
        // Not allowed, or no such address: the token or the API's address is wrong. Redirects are not followed.
        300..=399 | 401 | 403 | 404 => Delivery::Dead {
            why,
            scope: DeadScope::Device,
        },
        _ => Delivery::Dead {
            why,
            scope: DeadScope::Message,
        },
    }
}

/// `(#131047) Re-engagement message: More than 24 hours have passed …`, in Graph's words.
fn describe(error: &Value) -> String {
    let message = text(error, "message").unwrap_or("error without a message");
    let code = error.get("code").and_then(Value::as_i64);
    let numbered = match code {
        Some(code) if !message.contains(&code.to_string()) => format!("(#{code}) {message}"),
        _ => message.to_owned(),
    };
    let details = error
        .get("error_data")
        .and_then(|data| text(data, "details"));
    let words = match details {
        Some(details) => format!("{numbered}: {details}"),
        None => numbered,
    };
    shorten(&words, MAX_WHY_CHARS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Answer {
        Answer {
            status,
            retry_after: None,
            body: Some(body.as_bytes().to_vec()),
        }
    }

    fn graph(status: u16, code: i64) -> Delivery {
        classify(&answer(
            status,
            &format!(r#"{{"error":{{"message":"words","code":{code}}}}}"#),
        ))
    }

    fn class(delivery: &Delivery) -> &'static str {
        match delivery {
            Delivery::Sent { .. } => "sent",
            Delivery::Retry { .. } => "retry",
            Delivery::Unknown { .. } => "unknown",
            Delivery::Dead {
                scope: DeadScope::Message,
                ..
            } => "message",
            Delivery::Dead {
                scope: DeadScope::Device,
                ..
            } => "device",
        }
    }

    #[test]
    fn codes_fall_into_their_classes() {
        for (expected, codes) in [
            (
                "retry",
                &[
                    1, 2, 4, 80_007, 130_429, 131_000, 131_016, 131_056, 131_057, 133_016,
                ][..],
            ),
            (
                "device",
                &[0, 3, 10, 190, 200, 299, 368, 131_031, 131_048, 131_042],
            ),
            (
                "message",
                &[
                    100, 130_472, 131_008, 131_009, 131_026, 131_030, 131_047, 131_049, 131_051,
                    131_052, 131_053, 132_000, 132_016, 999_999,
                ],
            ),
        ] {
            for code in codes {
                assert_eq!(class(&graph(400, *code)), expected, "{code}");
            }
        }
    }

    #[test]
    fn an_unknown_code_is_tried_again_where_graph_says_so() {
        assert_eq!(class(&graph(500, 999_999)), "retry");
        let transient = r#"{"error":{"message":"m","code":999999,"is_transient":true}}"#;
        assert_eq!(class(&classify(&answer(400, transient))), "retry");
        let no_object = r#"{"error":{"message":"m","code":100,"error_subcode":33}}"#;
        assert_eq!(class(&classify(&answer(400, no_object))), "device");
        assert_eq!(class(&classify(&answer(400, r#"{"error":{}}"#))), "retry");
    }

    #[test]
    fn without_graphs_word_the_status_decides() {
        for (status, expected) in [
            (302, "device"),
            (400, "message"),
            (401, "device"),
            (404, "device"),
            (413, "message"),
            (429, "retry"),
            (500, "unknown"),
            (502, "unknown"),
            (503, "retry"),
            (504, "unknown"),
        ] {
            for body in ["", "<html>", "[]", r#"{"error":"no"}"#] {
                assert_eq!(
                    class(&classify(&answer(status, body))),
                    expected,
                    "{status} {body}"
                );
            }
        }
    }

    #[test]
    fn the_provider_says_how_long_to_wait() {
        let slow = Answer {
            retry_after: Some(Duration::from_secs(30)),
            ..answer(429, r#"{"error":{"message":"m","code":131056}}"#)
        };
        let after = |delivery| match delivery {
            Delivery::Retry { after, .. } => after,
            _ => None,
        };
        assert_eq!(after(classify(&slow)), Some(Duration::from_secs(30)));
        assert_eq!(after(graph(400, PAIR_RATE)), Some(PAIR_RATE_PAUSE));
        assert_eq!(after(graph(400, 130_429)), None);
    }

    #[test]
    fn why_is_in_graphs_words() {
        let why = |body: &str| match classify(&answer(400, body)) {
            Delivery::Dead { why, .. } => why,
            other => panic!("{other:?}"),
        };
        assert_eq!(
            why(
                r#"{"error":{"message":"(#131047) Late","code":131047,"error_data":{"details":"24 hours"}}}"#
            ),
            "(#131047) Late: 24 hours"
        );
        assert_eq!(
            why(r#"{"error":{"message":"Bad","code":100}}"#),
            "(#100) Bad"
        );
        assert_eq!(why("gone wrong"), "HTTP 400: gone wrong");
        assert_eq!(why(""), "HTTP 400");
        assert_eq!(why(&"x".repeat(5_000)).chars().count(), MAX_WHY_CHARS + 1);
    }
}
