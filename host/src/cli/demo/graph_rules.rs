//! What Graph refuses, and in which words: the rules of "Messages" and "Error codes" in Meta's Cloud API documentation, as far
//! as this host can break them.

use serde_json::{Value, json};

/// An error of the Graph API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GraphError {
    /// The HTTP status that it comes with.
    pub status: u16,
    /// Graph's code.
    pub code: i64,
    /// Graph's finer code, where it has one.
    pub subcode: Option<i64>,
    /// Graph's words.
    pub message: String,
    /// More of them.
    pub details: Option<String>,
}

impl GraphError {
    /// Any error, with the status that Graph sends it with.
    pub(super) fn of_code(code: i64) -> Self {
        let status = match code {
            190 => 401,
            4 | 80_007 | 130_429 | 131_056 => 429,
            1 | 2 | 131_000 | 131_016 => 500,
            _ => 400,
        };
        Self {
            status,
            code,
            subcode: None,
            message: format!("(#{code}) As the script says"),
            details: None,
        }
    }

    pub(super) fn invalid_token() -> Self {
        Self {
            message: "Invalid OAuth access token - Cannot parse access token".to_owned(),
            ..Self::of_code(190)
        }
    }

    pub(super) fn no_such_number(phone_number_id: &str) -> Self {
        Self {
            subcode: Some(33),
            message: format!(
                "Unsupported post request. Object with ID '{phone_number_id}' does not exist, cannot be loaded due to missing permissions, or does not support this operation."
            ),
            ..Self::of_code(100)
        }
    }

    fn invalid(parameter: &str, rule: &str) -> Self {
        Self {
            message: "(#100) Invalid parameter".to_owned(),
            details: Some(format!("{parameter}: {rule}")),
            ..Self::of_code(100)
        }
    }

    fn missing(parameter: &str) -> Self {
        Self {
            message: format!("(#100) The parameter {parameter} is required."),
            ..Self::of_code(100)
        }
    }

    fn bad_value(details: &str) -> Self {
        Self {
            message: "(#131009) Parameter value is not valid".to_owned(),
            details: Some(details.to_owned()),
            ..Self::of_code(131_009)
        }
    }

    /// The body of the answer.
    pub(super) fn to_json(&self) -> Value {
        let mut error = json!({
            "message": self.message,
            "type": "OAuthException",
            "code": self.code,
            "fbtrace_id": "Ademo",
        });
        if let Some(fields) = error.as_object_mut() {
            if let Some(subcode) = self.subcode {
                fields.insert("error_subcode".to_owned(), json!(subcode));
            }
            if let Some(details) = &self.details {
                let data = json!({ "messaging_product": "whatsapp", "details": details });
                fields.insert("error_data".to_owned(), data);
            }
        }
        json!({ "error": error })
    }
}

type Verdict = Result<(), GraphError>;

/// Checks a request to `/messages`.
pub(super) fn check(body: &Value) -> Verdict {
    if text(body, "messaging_product") != Some("whatsapp") {
        return Err(GraphError::missing("messaging_product"));
    }
    if body.get("status").is_some() {
        return check_presence(body);
    }
    check_recipient(body)?;
    let kind = text(body, "type").ok_or_else(|| GraphError::missing("type"))?;
    let content = body.get(kind).ok_or_else(|| GraphError::missing(kind))?;
    match kind {
        "text" => check_text(content, "body", 4_096)?,
        "image" | "audio" | "video" | "document" => check_media(kind, content)?,
        "interactive" => check_buttons(content)?,
        "reaction" => check_reaction(content)?,
        _ => return Err(GraphError::invalid("type", "not one of the known types")),
    }
    if let Some(context) = body.get("context") {
        text(context, "message_id").ok_or_else(|| GraphError::missing("context['message_id']"))?;
    }
    match body.get("biz_opaque_callback_data") {
        None => Ok(()),
        Some(data) => at_most("biz_opaque_callback_data", data.as_str(), 512),
    }
}

fn check_presence(body: &Value) -> Verdict {
    if text(body, "status") != Some("read") {
        return Err(GraphError::invalid("status", "must be read"));
    }
    text(body, "message_id").ok_or_else(|| GraphError::missing("message_id"))?;
    match body.get("typing_indicator") {
        Some(indicator) if text(indicator, "type") != Some("text") => Err(GraphError::invalid(
            "typing_indicator['type']",
            "must be text",
        )),
        _ => Ok(()),
    }
}

/// A phone number in `to`, or a business-scoped user id in `recipient`.
fn check_recipient(body: &Value) -> Verdict {
    if !matches!(text(body, "recipient_type"), None | Some("individual")) {
        return Err(GraphError::invalid("recipient_type", "must be individual"));
    }
    match (text(body, "to"), text(body, "recipient")) {
        (Some(to), _)
            if to
                .trim_start_matches('+')
                .bytes()
                .all(|b| b.is_ascii_digit()) =>
        {
            Ok(())
        }
        (Some(_), _) => Err(GraphError::bad_value("to is not a valid phone number")),
        (None, Some(id))
            if id
                .split_once('.')
                .is_some_and(|(country, _)| country.len() == 2) =>
        {
            Ok(())
        }
        (None, Some(_)) => Err(GraphError::bad_value("recipient is not a valid user id")),
        (None, None) => Err(GraphError::missing("to")),
    }
}

fn check_media(kind: &str, media: &Value) -> Verdict {
    let link = text(media, "link");
    let is_absolute = |link: &str| link.starts_with("https://") || link.starts_with("http://");
    if !link.is_some_and(is_absolute) && text(media, "id").is_none() {
        return Err(GraphError::invalid(kind, "needs a link or an id"));
    }
    let Some(caption) = media.get("caption") else {
        return Ok(());
    };
    if kind == "audio" {
        return Err(GraphError::invalid("audio['caption']", "unexpected key"));
    }
    at_most("caption", caption.as_str(), 1_024)
}

fn check_buttons(interactive: &Value) -> Verdict {
    if text(interactive, "type") != Some("button") {
        return Err(GraphError::bad_value("Interactive type is not supported"));
    }
    let body = interactive.get("body").unwrap_or(&Value::Null);
    check_text(body, "text", 1_024)?;
    let buttons = interactive
        .pointer("/action/buttons")
        .and_then(Value::as_array)
        .ok_or_else(|| GraphError::missing("interactive['action']['buttons']"))?;
    if !(1..=3).contains(&buttons.len()) {
        return Err(GraphError::bad_value(
            "Invalid buttons count. Min allowed buttons: 1, Max allowed buttons: 3",
        ));
    }
    for (key, limit) in [("id", 256), ("title", 20)] {
        let mut seen = Vec::new();
        for button in buttons {
            let reply = button.get("reply").unwrap_or(&Value::Null);
            check_text(reply, key, limit)?;
            seen.push(text(reply, key));
        }
        let count = seen.len();
        seen.sort_unstable();
        seen.dedup();
        if seen.len() < count {
            return Err(GraphError::bad_value(&format!("Duplicated button {key}")));
        }
    }
    Ok(())
}

fn check_reaction(reaction: &Value) -> Verdict {
    text(reaction, "message_id").ok_or_else(|| GraphError::missing("reaction['message_id']"))?;
    match reaction.get("emoji") {
        Some(Value::String(_)) => Ok(()),
        _ => Err(GraphError::missing("reaction['emoji']")),
    }
}

/// A text that must be there, not blank, and not too long.
fn check_text(object: &Value, key: &str, limit: usize) -> Verdict {
    let text = text(object, key).filter(|text| !text.trim().is_empty());
    let text = text.ok_or_else(|| GraphError::missing(key))?;
    at_most(key, Some(text), limit)
}

fn at_most(parameter: &str, text: Option<&str>, limit: usize) -> Verdict {
    match text {
        Some(text) if text.chars().count() <= limit => Ok(()),
        Some(_) => Err(GraphError::invalid(
            parameter,
            &format!("must be at most {limit} characters"),
        )),
        None => Err(GraphError::invalid(parameter, "must be a string")),
    }
}

fn text<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    value.get(key)?.as_str().filter(|text| !text.is_empty())
}
