//! The webhooks of the load, as Meta sends and signs them.

use hmac::{Hmac, KeyInit as _, Mac as _};
use nodepath_model::Clock;
use sha2::Sha256;

/// The app secret of the measured device.
pub(crate) const APP_SECRET: &str = "bench-app-secret";

/// Its number's id.
pub(crate) const PHONE_NUMBER_ID: &str = "106540352242922";

/// The first prospect's number; the others follow.
const FIRST_PROSPECT: u64 = 628_110_000_000;

/// A webhook with one text, and its signature.
pub(crate) struct Signed {
    pub(crate) body: String,
    pub(crate) signature: String,
}

/// The phone number of a conversation.
pub(crate) fn prospect(conversation: usize) -> String {
    (FIRST_PROSPECT + conversation as u64).to_string()
}

/// Which conversation a phone number is of.
pub(crate) fn conversation(prospect: &str) -> Option<usize> {
    let number: u64 = prospect.parse().ok()?;
    usize::try_from(number.checked_sub(FIRST_PROSPECT)?).ok()
}

/// What is said in the message of this number.
pub(crate) fn words(message: u64) -> String {
    format!("Do you have it in blue, please? ({message})")
}

/// The webhook of a message. A real one looks like this, to the byte: captured from Meta's documentation ("Text messages").
pub(crate) fn text(conversation: usize, message: u64, run: u64) -> Signed {
    let from = prospect(conversation);
    let at = Clock::System.now().0 / 1_000;
    let words = words(message);
    let body = format!(
        r#"{{"object":"whatsapp_business_account","entry":[{{"id":"102290129340398","changes":[{{"value":{{"messaging_product":"whatsapp","metadata":{{"display_phone_number":"15550783881","phone_number_id":"{PHONE_NUMBER_ID}"}},"contacts":[{{"profile":{{"name":"Sheena Nelson"}},"wa_id":"{from}"}}],"messages":[{{"from":"{from}","id":"wamid.HBgLMTY1MDM4Nzk0MzkVAgASGBQzQTRB{run:016x}{message:012x}AA==","timestamp":"{at}","type":"text","text":{{"body":"{words}"}}}}]}},"field":"messages"}}]}}]}}"#
    );
    let signature = sign(body.as_bytes());
    Signed { body, signature }
}

fn sign(body: &[u8]) -> String {
    let mac = Hmac::<Sha256>::new_from_slice(APP_SECRET.as_bytes()).map(|mut mac| {
        mac.update(body);
        hex::encode(mac.finalize().into_bytes())
    });
    // A key of any length will do for HMAC.
    format!("sha256={}", mac.unwrap_or_default())
}
