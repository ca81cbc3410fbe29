//! The channels against the played providers, and both against implementations of others.

use crate::model::delivery::{PartBody, PartKind};
use crate::model::{ConversationId, DeviceId, OutboxId, Part, ProspectId, Timestamp, TurnId};

mod oracles;
mod sending;

const NOW: Timestamp = Timestamp(1_760_433_330_000);
const PROSPECT: &str = "60123456789";

fn part(to: &str, kind: PartKind) -> Part {
    let device = DeviceId::from_trusted("dev_test");
    let prospect = ProspectId::from_trusted(to);
    Part {
        id: OutboxId::from_trusted("out_0199e1f0d0507abc8def000000000001"),
        conversation: ConversationId::of(&device, &prospect),
        turn: TurnId::from_trusted("trn_test"),
        idx: 0,
        device,
        prospect,
        body: PartBody {
            kind,
            reply_to: None,
            delay_ms: 0,
            ext: vec![],
        },
        attempt: 1,
    }
}

fn text(text: &str) -> PartKind {
    PartKind::Text {
        text: text.to_owned(),
    }
}
