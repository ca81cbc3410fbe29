//! WhatsApp Cloud API, by Meta.
//!
//! Provider facts are from Meta's documentation of the WhatsApp Business Platform ("Webhooks", "Messages", "Error codes",
//! "Business-scoped user IDs") and were compared with the Python library pywa, which the oracle tests run.

use hmac::{Hmac, KeyInit as _, Mac as _};
use http::HeaderMap;
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

use std::time::Duration;

use super::VerifyError;
use crate::model::Secret;
use crate::model::delivery::ChannelLimits;

mod content;
mod errors;
pub(super) mod parse;
pub(super) mod send;

#[cfg(test)]
pub(super) mod parse_tests;

/// "Messages" of the Cloud API reference; free-form messages may be sent for 24 hours after the prospect's last one.
pub(super) const LIMITS: ChannelLimits = ChannelLimits {
    text_chars: 4_096,
    caption_chars: 1_024,
    buttons_text_chars: 1_024,
    buttons: 3,
    button_title_chars: 20,
    button_id_chars: 256,
    reactions: true,
    window: Some(Duration::from_secs(24 * 3600)),
};

const SIGNATURE: &str = "x-hub-signature-256";

/// The headers without which a webhook is not signed.
pub(super) const SIGNED_BY: [&str; 1] = [SIGNATURE];

/// Answers `GET ?hub.mode=subscribe&hub.verify_token=…&hub.challenge=…`.
pub(super) fn challenge(verify_token: &Secret, query: &str) -> Result<String, VerifyError> {
    let expected = verify_token.expose();
    if expected.is_empty() {
        return Err(VerifyError::Unconfigured);
    }
    let get = |name: &str| {
        form_urlencoded::parse(query.as_bytes())
            .find(|(key, _)| key == name)
            .map(|(_, value)| value)
    };
    let (Some(mode), Some(token), Some(challenge)) = (
        get("hub.mode"),
        get("hub.verify_token"),
        get("hub.challenge"),
    ) else {
        return Err(VerifyError::BadChallenge);
    };
    let known = bool::from(token.as_bytes().ct_eq(expected.as_bytes()));
    if mode == "subscribe" && known {
        Ok(challenge.into_owned())
    } else {
        Err(VerifyError::BadChallenge)
    }
}

/// Checks `X-Hub-Signature-256: sha256=<hex of HMAC-SHA256(app secret, raw body)>`.
pub(super) fn verify(
    app_secret: &Secret,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<(), VerifyError> {
    let header = headers
        .get(SIGNATURE)
        .ok_or(VerifyError::MissingHeader(SIGNATURE))?;
    let signature = header
        .to_str()
        .ok()
        .and_then(|text| text.strip_prefix("sha256="))
        .and_then(|text| hex::decode(text).ok())
        .ok_or(VerifyError::BadHeader(SIGNATURE))?;
    let mac = mac(app_secret.expose(), body).ok_or(VerifyError::Unconfigured)?;
    mac.verify_slice(&signature)
        .map_err(|_| VerifyError::BadSignature)
}

/// The value of `X-Hub-Signature-256` with which Meta would send this body; for the demo and for tests.
#[must_use]
pub fn sign(app_secret: &Secret, body: &[u8]) -> String {
    let signature = mac(app_secret.expose(), body)
        .map(|mac| hex::encode(mac.finalize().into_bytes()))
        .unwrap_or_default();
    format!("sha256={signature}")
}

/// None if the secret is empty: anybody could sign with that.
fn mac(app_secret: &str, body: &[u8]) -> Option<Hmac<Sha256>> {
    if app_secret.is_empty() {
        return None;
    }
    let mut mac = Hmac::<Sha256>::new_from_slice(app_secret.as_bytes()).ok()?;
    mac.update(body);
    Some(mac)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(signature: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(SIGNATURE, signature.parse().unwrap());
        headers
    }

    #[test]
    fn a_signed_body_is_believed_and_a_changed_one_is_not() {
        let secret = Secret::new("app-secret");
        let signature = sign(&secret, b"{}");
        assert_eq!(verify(&secret, &headers(&signature), b"{}"), Ok(()));
        assert_eq!(
            verify(
                &secret,
                &headers(&signature.to_uppercase().replace("SHA", "sha")),
                b"{}"
            ),
            Ok(())
        );
        let bad = Err(VerifyError::BadSignature);
        assert_eq!(verify(&secret, &headers(&signature), b"{} "), bad);
        assert_eq!(
            verify(&Secret::new("other"), &headers(&signature), b"{}"),
            bad
        );
        assert_eq!(verify(&secret, &headers("sha256=00"), b"{}"), bad);
        assert_eq!(verify(&secret, &headers("sha256="), b"{}"), bad);
    }

    #[test]
    fn a_signature_that_is_none_is_refused() {
        let secret = Secret::new("app-secret");
        assert_eq!(
            verify(&secret, &HeaderMap::new(), b"{}"),
            Err(VerifyError::MissingHeader(SIGNATURE))
        );
        for bad in ["", "sha1=00", "sha256=xyz", "sha256=0"] {
            assert_eq!(
                verify(&secret, &headers(bad), b"{}"),
                Err(VerifyError::BadHeader(SIGNATURE)),
                "{bad:?}"
            );
        }
    }

    #[test]
    fn an_empty_secret_believes_nothing() {
        let empty = Secret::new("");
        let mut mac = Hmac::<Sha256>::new_from_slice(b"").unwrap();
        mac.update(b"{}");
        let signature = format!("sha256={}", hex::encode(mac.finalize().into_bytes()));
        assert_eq!(
            verify(&empty, &headers(&signature), b"{}"),
            Err(VerifyError::Unconfigured)
        );
        let query = "hub.mode=subscribe&hub.verify_token=&hub.challenge=1";
        assert_eq!(challenge(&empty, query), Err(VerifyError::Unconfigured));
    }

    #[test]
    fn the_challenge_is_repeated_for_the_right_token_only() {
        let token = Secret::new("tok en");
        let ask = |query: &str| challenge(&token, query);
        let right = "hub.mode=subscribe&hub.verify_token=tok%20en&hub.challenge=1158201444";
        assert_eq!(ask(right), Ok("1158201444".to_owned()));
        for wrong in [
            "",
            "hub.mode=subscribe&hub.verify_token=token&hub.challenge=1",
            "hub.mode=unsubscribe&hub.verify_token=tok+en&hub.challenge=1",
            "hub.mode=subscribe&hub.challenge=1",
            "hub.mode=subscribe&hub.verify_token=tok+en",
            "%%%&=&&",
        ] {
            assert_eq!(ask(wrong), Err(VerifyError::BadChallenge), "{wrong:?}");
        }
    }
}
