//! The headers that sign a webhook. The expected answer is worked out in another way than the code's: by making every
//! signature that is true and comparing texts.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::{HeaderMap, HeaderName, HeaderValue};
use sha2::Sha256;

use super::super::generic::signature;
use super::super::{VerifyError, whatsapp};
use super::line;
use crate::model::{Secret, Timestamp};

const WHATSAPP: &str = "x-hub-signature-256";

/// How far apart the time of a signature and that of its arrival may be, in milliseconds.
const TOLERANCE_MS: i128 = 300_000;

/// Checks a signature of WhatsApp. The input has four lines: the secret, the header, a position and the body, which may have
/// more. `{}` in the header stands for the true signature in hexadecimal.
pub fn whatsapp_signature(input: &[u8]) {
    let (secret, rest) = line(input);
    let (header, rest) = line(rest);
    let (position, body) = line(rest);
    let secret = Secret::new(String::from_utf8_lossy(secret));
    let truth = whatsapp::sign(&secret, body);
    let digits = truth.trim_start_matches("sha256=");
    let header = replace(header, &[("{}", digits)]);
    let is_true = !secret.expose().is_empty()
        && header
            .strip_prefix(b"sha256=")
            .is_some_and(|header| header.eq_ignore_ascii_case(digits.as_bytes()));
    let Some(headers) = headers(&[(WHATSAPP, &header)]) else {
        return;
    };
    let verified = whatsapp::verify(&secret, &headers, body);
    assert_eq!(verified.is_ok(), is_true, "{headers:?}: {verified:?}");
    if secret.expose().is_empty() {
        return;
    }
    let believes = |secret: &Secret, header: &str, body: &[u8]| {
        let headers = headers_of(&[(WHATSAPP, header)]);
        whatsapp::verify(secret, &headers, body)
    };
    let refused = Err(VerifyError::BadSignature);
    assert_eq!(believes(&secret, &truth, body), Ok(()));
    for other in changed(body, number(position)) {
        assert_eq!(believes(&secret, &truth, &other), refused, "{other:?}");
    }
    let other = Secret::new(format!("{}x", secret.expose()));
    assert_eq!(believes(&other, &truth, body), refused);
    let shorter = truth.get(..truth.len() - 2).unwrap_or_default();
    assert_eq!(believes(&secret, shorter, body), refused);
    assert_eq!(believes(&secret, &format!("{truth}00"), body), refused);
    let none = whatsapp::verify(&secret, &HeaderMap::new(), body);
    assert_eq!(none, Err(VerifyError::MissingHeader(WHATSAPP)));
}

/// A webhook of the generic channel, signed or not.
struct Webhook {
    secrets: Vec<Secret>,
    id: Vec<u8>,
    timestamp: Vec<u8>,
    signatures: Vec<u8>,
    body: Vec<u8>,
    now: Timestamp,
    position: usize,
}

/// Checks the three headers of Standard Webhooks. The input has seven lines: how much later than its timestamp the webhook
/// comes, in milliseconds; the secrets; the three headers; a position; and the body. `{0}` in the last header stands for the
/// true signature by the first secret, and so on.
pub fn generic_signature(input: &[u8]) {
    let webhook = Webhook::read(input);
    let all: [(&'static str, &[u8]); 3] = [
        (signature::ID, &webhook.id),
        (signature::TIMESTAMP, &webhook.timestamp),
        (signature::SIGNATURE, &webhook.signatures),
    ];
    let Some(signed) = headers(&all) else {
        return;
    };
    let verified = signature::verify(&webhook.secrets, &signed, &webhook.body, webhook.now);
    assert_eq!(
        verified.is_ok(),
        webhook.should_be_believed(),
        "{signed:?} at {}: {verified:?}",
        webhook.now
    );
    for without in 0..all.len() {
        let mut some = all.to_vec();
        let (missing, _) = some.remove(without);
        let verified = headers(&some).map(|some| {
            signature::verify(&webhook.secrets, &some, &webhook.body, webhook.now).is_ok()
        });
        assert_eq!(verified, Some(false), "without {missing}");
    }
    webhook.sign_anew();
}

impl Webhook {
    fn read(input: &[u8]) -> Self {
        let (late, rest) = line(input);
        let (secrets, rest) = line(rest);
        let (id, rest) = line(rest);
        let (timestamp, rest) = line(rest);
        let (signatures, rest) = line(rest);
        let (position, body) = line(rest);
        let late: i64 = text(late).and_then(|late| late.parse().ok()).unwrap_or(0);
        let at = seconds(timestamp).unwrap_or(0).saturating_mul(1_000);
        let secrets: Vec<Secret> = String::from_utf8_lossy(secrets)
            .split(' ')
            .map(Secret::new)
            .collect();
        let mut webhook = Self {
            secrets,
            id: id.to_vec(),
            timestamp: timestamp.to_vec(),
            signatures: Vec::new(),
            body: body.to_vec(),
            now: Timestamp(at.saturating_add(late)),
            position: number(position),
        };
        let truths: Vec<(String, String)> = webhook
            .truths()
            .into_iter()
            .enumerate()
            .map(|(n, truth)| (format!("{{{n}}}"), truth))
            .collect();
        let truths: Vec<(&str, &str)> = truths
            .iter()
            .map(|(mark, truth)| (mark.as_str(), truth.as_str()))
            .collect();
        webhook.signatures = replace(signatures, &truths);
        webhook
    }

    /// The true signature by each secret that can be used.
    fn truths(&self) -> Vec<String> {
        let signed = [&self.id[..], &self.timestamp, &self.body].join(&b"."[..]);
        self.secrets
            .iter()
            .filter_map(signature::key)
            .filter_map(|key| Hmac::<Sha256>::new_from_slice(&key).ok())
            .map(|mac| STANDARD.encode(mac.chain_update(&signed).finalize().into_bytes()))
            .collect()
    }

    fn should_be_believed(&self) -> bool {
        let (Some(id), Some(signatures)) = (text(&self.id), text(&self.signatures)) else {
            return false;
        };
        let Some(at) = seconds(&self.timestamp) else {
            return false;
        };
        let apart = i128::from(at) * 1_000 - i128::from(self.now.0);
        let truths = self.truths();
        let is_true = |token: &str| {
            truths.iter().any(|truth| {
                let bare = truth.trim_end_matches('=');
                token == format!("v1,{truth}") || token == format!("v1,{bare}")
            })
        };
        !id.is_empty() && apart.abs() <= TOLERANCE_MS && signatures.split(' ').any(is_true)
    }

    /// Signs the body with the host's own hand: that is believed, and nothing beside it.
    fn sign_anew(&self) {
        let id = text(&self.id).unwrap_or("wh-1");
        let now = Timestamp(self.now.0.max(0));
        let Some((timestamp, signatures)) =
            signature::sign(&self.secrets, id, &self.body, now).filter(|_| !id.is_empty())
        else {
            return;
        };
        let verify = |id: &str, timestamp: &str, body: &[u8]| {
            let headers = headers_of(&[
                (signature::ID, id),
                (signature::TIMESTAMP, timestamp),
                (signature::SIGNATURE, &signatures),
            ]);
            signature::verify(&self.secrets, &headers, body, now)
        };
        assert_eq!(verify(id, &timestamp, &self.body), Ok(()));
        let refused = Err(VerifyError::BadSignature);
        for other in changed(&self.body, self.position) {
            assert_eq!(verify(id, &timestamp, &other), refused, "{other:?}");
        }
        assert_eq!(verify(&format!("{id}x"), &timestamp, &self.body), refused);
        let later = now.0 / 1_000 + 1;
        if later.checked_mul(1_000).is_some() {
            assert_eq!(verify(id, &later.to_string(), &self.body), refused);
        }
    }
}

/// The body with one bit flipped, with one byte more, and with one byte less.
fn changed(body: &[u8], position: usize) -> Vec<Vec<u8>> {
    let mut flipped = body.to_vec();
    let bits = flipped.len() * 8;
    if let Some(bit) = position.checked_rem(bits)
        && let Some(byte) = flipped.get_mut(bit / 8)
    {
        *byte ^= 1 << (bit % 8);
    }
    let longer = [body, b"x"].concat();
    match body.split_last() {
        Some((_, shorter)) => vec![flipped, longer, shorter.to_vec()],
        None => vec![longer],
    }
}

/// The value of a header where its text can be read: visible ASCII, spaces and tabs.
fn text(value: &[u8]) -> Option<&str> {
    let is_text = |byte: &u8| matches!(byte, b' '..=b'~' | b'\t');
    std::str::from_utf8(value)
        .ok()
        .filter(|_| value.iter().all(is_text))
}

fn seconds(timestamp: &[u8]) -> Option<i64> {
    let seconds: i64 = text(timestamp)?.parse().ok()?;
    seconds.checked_mul(1_000).map(|_| seconds)
}

fn number(digits: &[u8]) -> usize {
    text(digits)
        .and_then(|digits| digits.parse().ok())
        .unwrap_or(0)
}

fn replace(line: &[u8], marks: &[(&str, &str)]) -> Vec<u8> {
    let mut replaced = Vec::new();
    let mut rest = line;
    while let Some((first, after)) = rest.split_first() {
        let mark = marks
            .iter()
            .find(|(mark, _)| rest.starts_with(mark.as_bytes()));
        match mark {
            Some((mark, value)) => {
                replaced.extend_from_slice(value.as_bytes());
                rest = rest.get(mark.len()..).unwrap_or_default();
            }
            None => {
                replaced.push(*first);
                rest = after;
            }
        }
    }
    replaced
}

/// Headers with these values; none where HTTP itself has no such value.
fn headers(values: &[(&'static str, &[u8])]) -> Option<HeaderMap> {
    values
        .iter()
        .map(|(name, value)| {
            let value = HeaderValue::from_bytes(value).ok()?;
            Some((HeaderName::from_static(name), value))
        })
        .collect()
}

fn headers_of(values: &[(&'static str, &str)]) -> HeaderMap {
    let values: Vec<_> = values
        .iter()
        .map(|(name, value)| (*name, value.as_bytes()))
        .collect();
    headers(&values).unwrap_or_default()
}
