//! What the plugin says, as pure functions: nothing in here knows the host, so plain unit tests cover it.

use crate::settings::Settings;

/// What a prospect sent, as far as this plugin understands it.
#[derive(Debug, PartialEq)]
pub enum Said {
    Text(String),
    /// The id of a button.
    Button(String),
    SomethingElse,
}

/// What is remembered of a prospect across turns.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Memory {
    pub name: Option<String>,
    pub last_topic: Option<Topic>,
    pub visits: u64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Topic {
    Hours,
    Address,
}

impl Topic {
    pub const ALL: [Self; 2] = [Self::Hours, Self::Address];

    pub fn id(self) -> &'static str {
        match self {
            Self::Hours => "hours",
            Self::Address => "address",
        }
    }

    pub fn from_id(id: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|topic| topic.id() == id)
    }
}

/// One answer to everything that was said since the last turn.
#[derive(Debug, PartialEq)]
pub enum Answer {
    /// A text with the buttons below it; afterwards the plugin waits for a choice.
    Menu(String),
    Text(String),
    /// A text, and a human takes over.
    HandOver(String),
}

/// The buttons below a menu, as (id, title). WhatsApp takes three, of at most 20 characters.
pub const BUTTONS: [(&str, &str); 3] = [
    ("hours", "Opening hours"),
    ("address", "Where we are"),
    ("agent", "Talk to a person"),
];

pub const FOLLOW_UP: &str =
    "Are you still there? Write “menu” to see what I can do, or “agent” to talk to a person.";

const HELP: &str = "Write “menu”, “hours”, “address” or “agent”. \
                    Tell me “my name is …” and I will remember it.";

#[derive(Debug, PartialEq)]
enum Intent {
    Agent,
    Topic(Topic),
    Greeting,
    Menu,
    Help,
    Name(String),
}

/// Answers a burst, and changes what is remembered.
pub fn answer(burst: &[Said], memory: &mut Memory, settings: &Settings) -> Answer {
    let intents: Vec<Intent> = burst.iter().filter_map(understand).collect();
    for intent in &intents {
        if let Intent::Name(name) = intent {
            memory.name = Some(name.clone());
        }
    }
    // Whoever asks for a human gets one, whatever else they said. Otherwise the last wish counts.
    let asks_for_human = intents.iter().find(|intent| **intent == Intent::Agent);
    match asks_for_human.or(intents.last()) {
        Some(Intent::Agent) => Answer::HandOver("A colleague will answer you here.".to_owned()),
        None => Answer::Menu("I did not understand that. What can I do for you?".to_owned()),
        Some(Intent::Greeting) => {
            let text = greeting(memory, settings);
            memory.visits += 1;
            Answer::Menu(text)
        }
        Some(Intent::Menu) => Answer::Menu("What can I do for you?".to_owned()),
        Some(Intent::Help) => Answer::Text(HELP.to_owned()),
        Some(Intent::Name(name)) => {
            Answer::Menu(format!("Nice to meet you, {name}. What can I do for you?"))
        }
        Some(Intent::Topic(topic)) => {
            memory.last_topic = Some(*topic);
            Answer::Text(match topic {
                Topic::Hours => settings.hours.clone(),
                Topic::Address => settings.address.clone(),
            })
        }
    }
}

fn greeting(memory: &Memory, settings: &Settings) -> String {
    let name = memory
        .name
        .as_ref()
        .map(|name| format!(", {name}"))
        .unwrap_or_default();
    if memory.visits == 0 {
        return format!(
            "Welcome to {}{name}. What can I do for you?",
            settings.business
        );
    }
    let last = match memory.last_topic {
        Some(Topic::Hours) => " Last time you asked for our opening hours.",
        Some(Topic::Address) => " Last time you asked where we are.",
        None => "",
    };
    format!(
        "Welcome back{name}, this is visit {}.{last} What can I do for you?",
        memory.visits + 1
    )
}

fn understand(said: &Said) -> Option<Intent> {
    match said {
        Said::Button(id) => keyword(id),
        Said::Text(text) => name(text).map(Intent::Name).or_else(|| {
            text.split(|character: char| !character.is_alphanumeric())
                .find_map(|word| keyword(&word.to_lowercase()))
        }),
        Said::SomethingElse => None,
    }
}

fn keyword(word: &str) -> Option<Intent> {
    match word {
        "agent" | "human" | "person" => Some(Intent::Agent),
        "hours" | "open" => Some(Intent::Topic(Topic::Hours)),
        "address" | "where" => Some(Intent::Topic(Topic::Address)),
        "hi" | "hello" | "hey" | "start" => Some(Intent::Greeting),
        "menu" => Some(Intent::Menu),
        "help" => Some(Intent::Help),
        _ => None,
    }
}

/// The name in `my name is NAME`.
fn name(text: &str) -> Option<String> {
    const OPENING: &str = "my name is ";
    let text = text.trim();
    let opening = text.get(..OPENING.len())?;
    let name = text
        .get(OPENING.len()..)?
        .trim()
        .trim_end_matches(['.', '!']);
    let fits = opening.eq_ignore_ascii_case(OPENING) && !name.is_empty() && name.len() <= 60;
    fits.then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(texts: &[&str], memory: &mut Memory) -> Answer {
        let burst: Vec<Said> = texts
            .iter()
            .map(|text| Said::Text((*text).to_owned()))
            .collect();
        answer(&burst, memory, &Settings::read(|_| None))
    }

    #[test]
    fn a_visit_is_counted_and_the_name_and_the_last_topic_are_remembered() {
        let mut memory = Memory::default();
        let menu = |text: &str| Answer::Menu(text.to_owned());
        assert_eq!(
            says(&["Hello!"], &mut memory),
            menu("Welcome to our shop. What can I do for you?")
        );
        says(&["my name is Ana."], &mut memory);
        says(&["when are you open?"], &mut memory);
        let back = "Welcome back, Ana, this is visit 2. Last time you asked for our opening hours. What can I do for you?";
        assert_eq!(says(&["hi"], &mut memory), menu(back));
        assert_eq!(memory.visits, 2);
    }

    #[test]
    fn the_last_wish_of_a_burst_counts() {
        let mut memory = Memory::default();
        let reply = says(&["hi", "hmm", "where is it"], &mut memory);
        assert_eq!(
            reply,
            Answer::Text("You find us at 1 Market Square.".to_owned())
        );
        assert_eq!(memory.last_topic, Some(Topic::Address));
    }

    #[test]
    fn a_human_is_called_whatever_else_is_said() {
        assert!(matches!(
            says(&["agent please", "menu"], &mut Memory::default()),
            Answer::HandOver(_)
        ));
    }

    #[test]
    fn what_is_not_understood_gets_the_menu() {
        let burst = [Said::SomethingElse, Said::Text("blah".to_owned())];
        let reply = answer(&burst, &mut Memory::default(), &Settings::read(|_| None));
        assert!(matches!(reply, Answer::Menu(_)));
    }

    #[test]
    fn every_button_is_understood_and_fits_whatsapp() {
        for (id, title) in BUTTONS {
            assert!(understand(&Said::Button(id.to_owned())).is_some(), "{id}");
            assert!(title.chars().count() <= 20, "{title}");
        }
    }

    #[test]
    fn a_name_needs_its_opening() {
        assert_eq!(name("My name is José!"), Some("José".to_owned()));
        assert_eq!(name("my name is "), None);
        assert_eq!(name("ñandú 🦤 and so on"), None);
    }
}
