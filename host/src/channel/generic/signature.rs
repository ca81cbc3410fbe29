//! The signature of Standard Webhooks: `v1,<Base64 of HMAC-SHA256(secret, "{id}.{timestamp}.{body}")>`.
//!
//! It is written out here because the crate `standardwebhooks` (1.0.1) reads the clock itself, knows one secret at a time, takes
//! an empty one and refuses a body that is not UTF-8; the tests compare it with the Python package of the same authors.

use std::time::Duration;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::HeaderMap;
use sha2::Sha256;

use super::super::VerifyError;
use crate::model::{Secret, Timestamp};

pub(in crate::channel) const ID: &str = "webhook-id";
pub(in crate::channel) const TIMESTAMP: &str = "webhook-timestamp";
pub(in crate::channel) const SIGNATURE: &str = "webhook-signature";

/// The headers without which a webhook is not signed.
pub(in crate::channel) const SIGNED_BY: [&str; 3] = [ID, TIMESTAMP, SIGNATURE];

/// A signature is believed this long before and after the time that it names ("Verifying webhooks": five minutes).
const TOLERANCE: Duration = Duration::from_secs(5 * 60);

/// Padding may be missing: some tools leave it out of the secrets that they show.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Checks the three headers against the raw body. Any of the secrets may have signed, with any of the signatures.
pub(in crate::channel) fn verify(
    secrets: &[Secret],
    headers: &HeaderMap,
    body: &[u8],
    now: Timestamp,
) -> Result<(), VerifyError> {
    let id = header(headers, ID)?;
    let timestamp = header(headers, TIMESTAMP)?;
    let signatures = header(headers, SIGNATURE)?;
    let at = seconds(timestamp).ok_or(VerifyError::BadHeader(TIMESTAMP))?;
    let apart = now.since(at).max(at.since(now));
    if apart > TOLERANCE {
        return Err(VerifyError::OutsideWindow);
    }
    let keys: Vec<Vec<u8>> = secrets.iter().filter_map(key).collect();
    if keys.is_empty() {
        return Err(VerifyError::Unconfigured);
    }
    let fits = signatures
        .split(' ')
        .filter_map(|versioned| versioned.strip_prefix("v1,"))
        .filter_map(|signature| BASE64.decode(signature).ok())
        .any(|signature| {
            keys.iter()
                .filter_map(|key| mac(key, id, timestamp, body))
                .any(|mac| mac.verify_slice(&signature).is_ok())
        });
    if fits {
        Ok(())
    } else {
        Err(VerifyError::BadSignature)
    }
}

/// The values of `webhook-timestamp` and `webhook-signature` for a body; none if no secret can be used.
#[must_use]
pub fn sign(secrets: &[Secret], id: &str, body: &[u8], now: Timestamp) -> Option<(String, String)> {
    let timestamp = now.0.div_euclid(1_000).to_string();
    let signatures: Vec<String> = secrets
        .iter()
        .filter_map(key)
        .filter_map(|key| mac(&key, id, &timestamp, body))
        .map(|mac| format!("v1,{}", BASE64.encode(mac.finalize().into_bytes())))
        .collect();
    (!signatures.is_empty()).then(|| (timestamp, signatures.join(" ")))
}

/// When a webhook says that it was sent.
pub(super) fn sent_at(headers: &HeaderMap) -> Option<Timestamp> {
    seconds(header(headers, TIMESTAMP).ok()?)
}

/// The id under which a webhook is redelivered.
pub(super) fn id(headers: &HeaderMap) -> Option<&str> {
    header(headers, ID).ok()
}

fn header<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<&'a str, VerifyError> {
    let value = headers.get(name).ok_or(VerifyError::MissingHeader(name))?;
    let value = value.to_str().map_err(|_| VerifyError::BadHeader(name))?;
    if value.is_empty() {
        return Err(VerifyError::MissingHeader(name));
    }
    Ok(value)
}

fn seconds(timestamp: &str) -> Option<Timestamp> {
    let seconds: i64 = timestamp.parse().ok()?;
    seconds.checked_mul(1_000).map(Timestamp)
}

/// The key in a secret, `whsec_` and Base64; none if it is empty or can't be read.
pub(in crate::channel) fn key(secret: &Secret) -> Option<Vec<u8>> {
    let text = secret.expose();
    let encoded = text.strip_prefix("whsec_").unwrap_or(text);
    BASE64.decode(encoded).ok().filter(|key| !key.is_empty())
}

fn mac(key: &[u8], id: &str, timestamp: &str, body: &[u8]) -> Option<Hmac<Sha256>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).ok()?;
    for piece in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
        mac.update(piece);
    }
    Some(mac)
}

#[cfg(test)]
mod tests {
    use super::*;

    // The example of the specification's own libraries.
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const BODY: &[u8] = br#"{"test": 2432232314}"#;
    const NOW: Timestamp = Timestamp(1_614_265_330_000);
    const GOOD: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

    fn headers(signature: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(ID, "msg_p5jXN8AQM9LWM0D4loKWxJek".parse().unwrap());
        headers.insert(TIMESTAMP, "1614265330".parse().unwrap());
        headers.insert(SIGNATURE, signature.parse().unwrap());
        headers
    }

    fn secrets(texts: &[&str]) -> Vec<Secret> {
        texts.iter().map(|text| Secret::new(*text)).collect()
    }

    fn check(texts: &[&str], headers: &HeaderMap) -> Result<(), VerifyError> {
        verify(&secrets(texts), headers, BODY, NOW)
    }

    #[test]
    fn the_example_of_the_specification_is_signed_and_believed() {
        let id = "msg_p5jXN8AQM9LWM0D4loKWxJek";
        let signed = sign(&secrets(&[SECRET]), id, BODY, NOW).unwrap();
        assert_eq!(signed, ("1614265330".to_owned(), GOOD.to_owned()));
        assert_eq!(check(&[SECRET], &headers(GOOD)), Ok(()));
        let bare = SECRET.trim_start_matches("whsec_");
        assert_eq!(check(&[bare], &headers(GOOD)), Ok(()));
    }

    #[test]
    fn any_of_several_signatures_and_secrets_will_do() {
        let many = format!("v2,{0} v1a,{0} v1,AAAA v1, {GOOD} nonsense", &GOOD[3..]);
        assert_eq!(check(&[SECRET], &headers(&many)), Ok(()));
        assert_eq!(check(&["whsec_AAAA", SECRET], &headers(GOOD)), Ok(()));
        let both = sign(&secrets(&["whsec_AAAA", SECRET]), "m", BODY, NOW)
            .unwrap()
            .1;
        assert_eq!(both.split(' ').count(), 2);
    }

    #[test]
    fn another_signature_body_or_version_is_refused() {
        let bad = Err(VerifyError::BadSignature);
        assert_eq!(check(&["whsec_AAAA"], &headers(GOOD)), bad);
        assert_eq!(check(&[SECRET], &headers(&GOOD.replace("v1,", "v2,"))), bad);
        assert_eq!(check(&[SECRET], &headers("v1,")), bad);
        assert_eq!(check(&[SECRET], &headers(&GOOD[..8])), bad);
        let other_body = verify(&secrets(&[SECRET]), &headers(GOOD), b"", NOW);
        assert_eq!(other_body, bad);
    }

    #[test]
    fn each_header_is_needed() {
        for name in [ID, TIMESTAMP, SIGNATURE] {
            let mut headers = headers(GOOD);
            headers.insert(name, "".parse().unwrap());
            assert_eq!(
                check(&[SECRET], &headers),
                Err(VerifyError::MissingHeader(name))
            );
            headers.remove(name);
            assert_eq!(
                check(&[SECRET], &headers),
                Err(VerifyError::MissingHeader(name))
            );
        }
        for bad in ["soon", "1614265330.5", "9223372036854775807", "-1 "] {
            let mut headers = headers(GOOD);
            headers.insert(TIMESTAMP, bad.parse().unwrap());
            assert!(check(&[SECRET], &headers).is_err(), "{bad}");
        }
    }

    #[test]
    fn five_minutes_and_no_more() {
        let secrets = secrets(&[SECRET]);
        let at = |now| verify(&secrets, &headers(GOOD), BODY, now);
        assert_eq!(at(NOW.plus(TOLERANCE)), Ok(()));
        assert_eq!(at(NOW.minus(TOLERANCE)), Ok(()));
        let second = Duration::from_secs(1);
        let outside = Err(VerifyError::OutsideWindow);
        assert_eq!(at(NOW.plus(TOLERANCE + second)), outside);
        assert_eq!(at(NOW.minus(TOLERANCE + second)), outside);
    }

    #[test]
    fn an_empty_secret_believes_and_signs_nothing() {
        for unusable in [&[][..], &[""], &["whsec_"], &["whsec_not base64!"]] {
            assert_eq!(
                check(unusable, &headers(GOOD)),
                Err(VerifyError::Unconfigured)
            );
            assert_eq!(sign(&secrets(unusable), "m", BODY, NOW), None);
        }
    }
}
