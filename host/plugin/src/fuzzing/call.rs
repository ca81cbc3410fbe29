//! Calls of a guest, made from any bytes: mostly such as a plugin would make, with keys that meet and sizes around the limits.

use std::time::Duration;

use arbitrary::{Result, Unstructured};

use super::NOW;
use crate::bindings::effects::{Button, MediaKind, OutboundMedia, SendOptions};
use crate::bindings::state::Scope;
use crate::grant::{Facts, ext_bytes};
use crate::limits::{
    KEY_BYTES, KEYS, NAME_CHARS, NOTE_CHARS, PAYLOAD_BYTES, TEXT_BYTES, VALUE_BYTES,
};
use nodepath_model::delivery::ChannelLimits;

/// One call in so many is made many times over, since the limits count to 200 and 1,000.
const REPEATED: u8 = 8;

/// The most bytes that repeated calls hand over together, so that an input takes a millisecond. The bound of all effects is met
/// by a few large values.
const REPEATED_BYTES: usize = 256 << 10;

/// What a call counts for at least, one that reads a value, and one that reads a page of the past: so little that the limits are
/// within reach.
const CALL_BYTES: usize = 1 << 10;
const READ_BYTES: usize = 256;
const PAGE_BYTES: usize = 8 << 10;

/// A call of a host function.
#[derive(Debug, Clone)]
pub(super) enum Call {
    SendText {
        text: String,
        options: Option<SendOptions>,
    },
    SendMedia {
        media: OutboundMedia,
        options: Option<SendOptions>,
    },
    SendButtons {
        body: String,
        buttons: Vec<Button>,
        options: Option<SendOptions>,
    },
    React {
        target: String,
        emoji: Option<String>,
    },
    Handover {
        reason: String,
        note: Option<String>,
    },
    Schedule {
        id: String,
        due: u64,
        payload: Vec<u8>,
    },
    CancelTimer {
        id: String,
    },
    SetTag {
        key: String,
        value: Option<String>,
    },
    Get {
        scope: Scope,
        key: String,
    },
    Set {
        scope: Scope,
        key: String,
        value: Vec<u8>,
        ttl: Option<u64>,
    },
    Delete {
        scope: Scope,
        key: String,
    },
    ListKeys {
        scope: Scope,
        prefix: String,
        limit: u32,
        cursor: Option<String>,
    },
    Increment {
        scope: Scope,
        key: String,
        by: i64,
    },
    Recent {
        limit: u32,
        cursor: Option<String>,
    },
    Write {
        message: String,
        fields: Vec<(String, String)>,
    },
    Typing(bool),
}

/// The next call, and how often it is made.
pub(super) fn next(input: &mut Unstructured<'_>) -> Result<(Call, usize)> {
    let call = match input.int_in_range(0..=19)? {
        0 | 1 => Call::SendText {
            text: words(input, TEXT_BYTES)?,
            options: maybe(input, options)?,
        },
        2 => Call::SendMedia {
            media: media(input)?,
            options: maybe(input, options)?,
        },
        3 => buttons(input)?,
        4 => Call::React {
            target: words(input, NAME_CHARS)?,
            emoji: maybe(input, |input| words(input, 2))?,
        },
        5 => Call::Handover {
            reason: words(input, 256)?,
            note: maybe(input, |input| words(input, NOTE_CHARS))?,
        },
        6 => Call::Schedule {
            id: words(input, NAME_CHARS)?,
            due: around(input, u64::try_from(NOW.0).unwrap_or(0))?,
            payload: bytes(input, PAYLOAD_BYTES)?,
        },
        7 => Call::CancelTimer {
            id: words(input, NAME_CHARS)?,
        },
        8 => Call::SetTag {
            key: words(input, NAME_CHARS)?,
            value: maybe(input, |input| words(input, 256))?,
        },
        9 => Call::Recent {
            limit: input.arbitrary()?,
            cursor: maybe(input, |input| words(input, KEY_BYTES))?,
        },
        10 => Call::Write {
            message: words(input, 5_000)?,
            fields: fields(input, 20)?,
        },
        11 => Call::Typing(input.arbitrary()?),
        of_state => state_call(input, of_state)?,
    };
    let times = times(input, &call)?;
    Ok((call, times))
}

fn state_call(input: &mut Unstructured<'_>, which: u8) -> Result<Call> {
    let scope = scope(input)?;
    Ok(match which {
        12 | 13 => Call::Get {
            scope,
            key: key(input)?,
        },
        14 | 15 => Call::Set {
            scope,
            key: key(input)?,
            value: number_or_bytes(input)?,
            ttl: maybe(input, |input| around(input, 0))?,
        },
        16 => Call::Delete {
            scope,
            key: key(input)?,
        },
        17 => Call::ListKeys {
            scope,
            prefix: prefix(input)?,
            limit: around(input, u64::from(KEYS)).map(|limit| limit as u32 % (KEYS + 2))?,
            cursor: maybe(input, key)?,
        },
        _ => Call::Increment {
            scope,
            key: key(input)?,
            by: input.arbitrary()?,
        },
    })
}

pub(super) fn facts(input: &mut Unstructured<'_>) -> Result<Facts> {
    let is_rich = input.arbitrary()?;
    Ok(Facts {
        limits: ChannelLimits {
            text_chars: 4_096,
            caption_chars: 1_024,
            buttons_text_chars: 1_024,
            buttons: if is_rich { 3 } else { 0 },
            button_title_chars: 20,
            button_id_chars: 256,
            reactions: is_rich,
            window: is_rich.then_some(Duration::from_secs(24 * 3_600)),
        },
        window_open: !input.ratio(1, REPEATED)?,
        now: NOW,
    })
}

pub(super) fn scope(input: &mut Unstructured<'_>) -> Result<Scope> {
    input
        .choose(&[Scope::Conversation, Scope::Prospect, Scope::Tenant])
        .copied()
}

/// Mostly one of a few keys, so that calls meet.
pub(super) fn key(input: &mut Unstructured<'_>) -> Result<String> {
    match input.int_in_range(0..=9)? {
        9 => words(input, KEY_BYTES),
        8 => Ok("k".to_owned()),
        n => Ok(format!("k/{n}")),
    }
}

fn prefix(input: &mut Unstructured<'_>) -> Result<String> {
    match input.int_in_range(0..=3)? {
        0 => Ok(String::new()),
        1 => Ok("k".to_owned()),
        2 => Ok("k/".to_owned()),
        _ => key(input),
    }
}

/// A value: bytes of any sort, or a number as text, as `increment` keeps them.
pub(super) fn number_or_bytes(input: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    if input.arbitrary()? {
        return Ok(input.arbitrary::<i64>()?.to_string().into_bytes());
    }
    bytes(input, VALUE_BYTES)
}

/// A few of the input's own bytes, or many of one sort, at most a little more than the limit.
fn bytes(input: &mut Unstructured<'_>, limit: usize) -> Result<Vec<u8>> {
    if input.ratio(1, 8)? {
        let fill = input.arbitrary()?;
        return Ok(vec![fill; input.int_in_range(0..=limit + 1)?]);
    }
    let length = input.int_in_range(0..=16)?;
    Ok(input.bytes(length.min(input.len()))?.to_vec())
}

/// A text: one that some argument asks for, the input's own, or one character over and over, a little more than the limit at most.
fn words(input: &mut Unstructured<'_>, limit: usize) -> Result<String> {
    match input.int_in_range(0..=7)? {
        0 | 1 => {
            let known = [
                "msg_1",
                "https://example.com/a",
                "true",
                "👍",
                "k/1",
                "a\u{7}b",
                " ",
            ];
            Ok((*input.choose(&known)?).to_owned())
        }
        2 => {
            let one = char::from_u32(input.int_in_range(0..=0x1_F9FF)?).unwrap_or('a');
            let length = input.int_in_range(0..=limit + 1)?;
            Ok(one.to_string().repeat(length))
        }
        _ => {
            let length = input.int_in_range(0..=16)?;
            let bytes = input.bytes(length.min(input.len()))?;
            Ok(String::from_utf8_lossy(bytes).into_owned())
        }
    }
}

fn options(input: &mut Unstructured<'_>) -> Result<SendOptions> {
    Ok(SendOptions {
        reply_to: maybe(input, |input| words(input, NAME_CHARS))?,
        delay: maybe(input, |input| around(input, 30_000))?,
        ext: fields(input, 17)?,
    })
}

fn media(input: &mut Unstructured<'_>) -> Result<OutboundMedia> {
    let kinds = [
        MediaKind::Image,
        MediaKind::Audio,
        MediaKind::Video,
        MediaKind::Document,
    ];
    Ok(OutboundMedia {
        kind: *input.choose(&kinds)?,
        url: words(input, 2_048)?,
        caption: maybe(input, |input| words(input, 1_024))?,
        filename: maybe(input, |input| words(input, NAME_CHARS))?,
    })
}

fn buttons(input: &mut Unstructured<'_>) -> Result<Call> {
    let body = words(input, 1_024)?;
    let count = input.int_in_range(0..=4)?;
    let button = |input: &mut Unstructured<'_>| {
        Ok(Button {
            id: words(input, 256)?,
            title: words(input, 20)?,
        })
    };
    Ok(Call::SendButtons {
        body,
        buttons: (0..count).map(|_| button(input)).collect::<Result<_>>()?,
        options: maybe(input, options)?,
    })
}

fn fields(input: &mut Unstructured<'_>, most: usize) -> Result<Vec<(String, String)>> {
    if !input.ratio(1, 4)? {
        return Ok(Vec::new());
    }
    let count = input.int_in_range(0..=most)?;
    (0..count)
        .map(|_| Ok((words(input, NAME_CHARS)?, words(input, 4_096)?)))
        .collect()
}

/// A number near another, or any.
fn around(input: &mut Unstructured<'_>, number: u64) -> Result<u64> {
    if input.arbitrary()? {
        return input.arbitrary();
    }
    Ok(number
        .saturating_add(input.int_in_range(0..=4)?)
        .saturating_sub(2))
}

fn maybe<T>(
    input: &mut Unstructured<'_>,
    make: impl FnOnce(&mut Unstructured<'_>) -> Result<T>,
) -> Result<Option<T>> {
    if input.arbitrary()? {
        make(input).map(Some)
    } else {
        Ok(None)
    }
}

/// How often a call is made.
fn times(input: &mut Unstructured<'_>, call: &Call) -> Result<usize> {
    if !input.ratio(1, REPEATED)? {
        return Ok(1);
    }
    let most = REPEATED_BYTES / size(call);
    Ok(input.int_in_range(1..=1_023)?.min(most.max(1)))
}

/// The bytes that a call hands over or gets back, roughly.
fn size(call: &Call) -> usize {
    let ext = |options: &Option<SendOptions>| options.as_ref().map_or(0, |o| ext_bytes(&o.ext));
    let bytes = match call {
        Call::Get { .. } => return READ_BYTES,
        Call::Recent { .. } => PAGE_BYTES,
        Call::SendText { text, options } => text.len() + ext(options),
        Call::SendMedia { options, .. } => ext(options),
        Call::SendButtons { body, options, .. } => body.len() + ext(options),
        Call::Handover { note, .. } => note.as_ref().map_or(0, String::len),
        Call::Schedule { payload, .. } => payload.len(),
        Call::Set { value, .. } => value.len(),
        Call::Write { message, fields } => message.len() + ext_bytes(fields),
        _ => 0,
    };
    bytes.max(CALL_BYTES)
}
