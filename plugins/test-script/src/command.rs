//! The grammar of a command: `VERB ARGUMENT…`, where the last argument may contain spaces.

use crate::effect::Effect;
use crate::ending::Ending;
use crate::keep::Keep;
use crate::question::Question;

#[derive(Debug, PartialEq)]
pub enum Command<'a> {
    Effect(Effect<'a>),
    Keep(Keep<'a>),
    Question(Question<'a>),
    Ending(Ending<'a>),
}

#[derive(Debug, PartialEq)]
pub enum Malformed {
    UnknownVerb(String),
    Argument { line: String, wanted: &'static str },
}

/// Whether the text begins with a command.
pub fn is_script(text: &str) -> bool {
    lines(text)
        .next()
        .is_some_and(|line| !matches!(parse(line), Err(Malformed::UnknownVerb(_))))
}

/// The commands of a script that are not empty.
pub fn lines(script: &str) -> impl Iterator<Item = &str> {
    script
        .split([';', '\n'])
        .map(str::trim)
        .filter(|line| !line.is_empty())
}

pub fn parse(line: &str) -> Result<Command<'_>, Malformed> {
    let (verb, rest) = split_word(line);
    let mut arguments = Arguments { line, rest };
    if let Some(effect) = Effect::parse(verb, &mut arguments)? {
        return Ok(Command::Effect(effect));
    }
    if let Some(keep) = Keep::parse(verb, &mut arguments)? {
        return Ok(Command::Keep(keep));
    }
    if let Some(question) = Question::parse(verb, &mut arguments)? {
        return Ok(Command::Question(question));
    }
    match Ending::parse(verb, &mut arguments)? {
        Some(ending) => Ok(Command::Ending(ending)),
        None => Err(Malformed::UnknownVerb(verb.to_owned())),
    }
}

/// What is left of a line.
pub struct Arguments<'a> {
    line: &'a str,
    rest: &'a str,
}

impl<'a> Arguments<'a> {
    /// Everything that is left, which may be nothing.
    pub fn rest(&self) -> &'a str {
        self.rest
    }

    pub fn optional_rest(&self) -> Option<&'a str> {
        (!self.rest.is_empty()).then_some(self.rest)
    }

    pub fn word(&mut self, wanted: &'static str) -> Result<&'a str, Malformed> {
        let (word, rest) = split_word(self.rest);
        if word.is_empty() {
            return Err(self.malformed(wanted));
        }
        self.rest = rest;
        Ok(word)
    }

    pub fn number<N: std::str::FromStr>(&mut self) -> Result<N, Malformed> {
        self.word("a number")?
            .parse()
            .map_err(|_| self.malformed("a number"))
    }

    pub fn malformed(&self, wanted: &'static str) -> Malformed {
        Malformed::Argument {
            line: self.line.to_owned(),
            wanted,
        }
    }
}

fn split_word(text: &str) -> (&str, &str) {
    let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    (word, rest.trim_start())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keep::Scope;

    #[test]
    fn a_text_is_a_script_when_it_begins_with_a_command() {
        assert!(is_script("reply hi"));
        assert!(is_script(" ;\n now"));
        assert!(is_script("timer"), "malformed, but meant as a command");
        assert!(!is_script("good morning; reply hi"));
        assert!(!is_script(""));
    }

    #[test]
    fn the_last_argument_keeps_its_spaces() {
        let effect = |line| match parse(line) {
            Ok(Command::Effect(effect)) => effect,
            other => panic!("{line}: {other:?}"),
        };
        assert_eq!(effect("reply a  b c"), Effect::Reply("a  b c"));
        assert_eq!(effect("delay 20 a b"), Effect::Delay(20, "a b"));
        assert_eq!(effect("timer t 5"), Effect::Timer("t", 5, ""));
        assert_eq!(
            effect("buttons a, b,c"),
            Effect::Buttons(vec!["a", "b", "c"])
        );
        let set = Keep::Set(Scope::Tenant, "k", "a b");
        assert_eq!(parse("set tenant k a b"), Ok(Command::Keep(set)));
    }

    #[test]
    fn a_malformed_command_says_what_it_wants() {
        let wanted = |line: &str, wanted| {
            let line = line.to_owned();
            Err(Malformed::Argument { line, wanted })
        };
        assert_eq!(parse("timer t soon"), wanted("timer t soon", "a number"));
        assert_eq!(
            parse("get k v"),
            wanted("get k v", "conversation, prospect or tenant")
        );
        assert_eq!(parse("parts"), wanted("parts", "a number"));
    }
}
