//! Whether credentials can work at all, told to the person who enters them and not to the first prospect who writes.

use super::generic::signature;
use crate::model::{Credentials, Secret};

/// Why credentials can't work. It names the field and what would be right, never what was entered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {rule}")]
pub struct BadCredentials {
    /// The field of `Credentials`.
    pub field: &'static str,
    /// What would be right.
    pub rule: &'static str,
}

/// The length of a key of Standard Webhooks, in bytes ("Signature scheme").
const KEY_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// Checks what can be checked without asking the provider.
///
/// # Errors
/// With every field that can't be right.
pub fn check_credentials(credentials: &Credentials) -> Result<(), Vec<BadCredentials>> {
    let checks = match credentials {
        Credentials::Whatsapp {
            app_secret,
            access_token,
            verify_token,
            phone_number_id,
            api_base,
        } => vec![
            visible("app_secret", app_secret),
            visible("access_token", access_token),
            visible("verify_token", verify_token),
            number_id("phone_number_id", phone_number_id),
            http_url("api_base", api_base),
        ],
        Credentials::Generic {
            inbound,
            outbound,
            url,
        } => vec![
            keys("inbound", inbound),
            keys("outbound", outbound),
            http_url("url", url),
        ],
    };
    let bad: Vec<_> = checks.into_iter().filter_map(Result::err).collect();
    if bad.is_empty() { Ok(()) } else { Err(bad) }
}

fn require(holds: bool, field: &'static str, rule: &'static str) -> Result<(), BadCredentials> {
    if holds {
        Ok(())
    } else {
        Err(BadCredentials { field, rule })
    }
}

fn visible(field: &'static str, secret: &Secret) -> Result<(), BadCredentials> {
    let text = secret.expose();
    let is_visible = !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic());
    require(
        is_visible,
        field,
        "must be one or more visible ASCII characters without spaces",
    )
}

fn number_id(field: &'static str, id: &str) -> Result<(), BadCredentials> {
    require(
        !id.is_empty() && id.bytes().all(|b| b.is_ascii_digit()),
        field,
        "must be the number's id at Meta: digits only, and not the telephone number itself",
    )
}

fn keys(field: &'static str, secrets: &[Secret]) -> Result<(), BadCredentials> {
    let fits = |secret| signature::key(secret).is_some_and(|key| KEY_BYTES.contains(&key.len()));
    require(
        !secrets.is_empty() && secrets.iter().all(fits),
        field,
        "must be one or more secrets, each `whsec_` and 24 to 64 bytes in Base64",
    )
}

fn http_url(field: &'static str, url: &str) -> Result<(), BadCredentials> {
    let parsed = reqwest::Url::parse(url);
    let is_http = parsed.is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
    require(is_http, field, "must be an absolute http or https URL")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whatsapp(token: &str, number: &str, base: &str) -> Result<(), Vec<BadCredentials>> {
        check_credentials(&Credentials::Whatsapp {
            app_secret: Secret::new("secret"),
            access_token: Secret::new(token),
            verify_token: Secret::new("verify"),
            phone_number_id: number.to_owned(),
            api_base: base.to_owned(),
        })
    }

    fn generic(inbound: &[&str], url: &str) -> Result<(), Vec<BadCredentials>> {
        check_credentials(&Credentials::Generic {
            inbound: inbound.iter().map(|secret| Secret::new(*secret)).collect(),
            outbound: vec![Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")],
            url: url.to_owned(),
        })
    }

    #[test]
    fn what_can_not_work_is_named() {
        const BASE: &str = "https://graph.facebook.com/v25.0";
        const KEY: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        let field = |result: Result<(), Vec<BadCredentials>>| result.err().map(|bad| bad[0].field);
        assert_eq!(field(whatsapp("EAA", "1122334455667", BASE)), None);
        assert_eq!(
            field(whatsapp("", "1122334455667", BASE)),
            Some("access_token")
        );
        assert_eq!(
            field(whatsapp("E A", "1122334455667", BASE)),
            Some("access_token")
        );
        assert_eq!(
            field(whatsapp("EAA", "+60 3", BASE)),
            Some("phone_number_id")
        );
        assert_eq!(field(whatsapp("EAA", "", BASE)), Some("phone_number_id"));
        assert_eq!(
            field(whatsapp("EAA", "1", "graph.facebook.com")),
            Some("api_base")
        );
        assert_eq!(field(generic(&[KEY], "http://127.0.0.1:9/hook")), None);
        assert_eq!(
            field(generic(&[KEY, "whsec_c2hvcnQ="], BASE)),
            Some("inbound")
        );
        assert_eq!(field(generic(&[], BASE)), Some("inbound"));
        assert_eq!(whatsapp("", "", "").unwrap_err().len(), 3, "all are named");
        assert_eq!(field(generic(&[KEY], "file:///etc/passwd")), Some("url"));
    }
}
