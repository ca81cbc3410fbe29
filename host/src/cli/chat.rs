//! `nodepath chat`: talk to a plugin in the terminal. Its turns are real ones, on a store that is thrown away afterwards.

mod line;
mod session;

use std::io::{self, IsTerminal as _, Write};
use std::path::PathBuf;

use anyhow::Context as _;
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, BufReader};

use super::answer::Answer;
use super::context::Context;
use super::device::Channel;
use super::files::read_component;
use super::plugin::{config_of, refusal};
use super::serve::Signals;
use crate::model::Content;

use line::Line;
use session::{Candidate, Session};

const HELP: &str = "\
In the conversation:
/button ID   press the button of this id
/timer       let the next timer fire now
/state       show what the plugin keeps
/resume      hand the conversation back to the plugin, after a hand-over
/reset       forget everything and begin again
/quit        end
Anything else is said to the plugin; //… says a text that begins with a slash.";

/// The longest line that is read, in bytes: more than any channel takes.
const LINE_BYTES: u64 = 64 << 10;

#[derive(Debug, clap::Args)]
#[command(after_help = HELP)]
pub(super) struct Args {
    /// The component
    file: PathBuf,
    /// What the plugin reads through `config`: a JSON object, or @FILE with one
    #[arg(long, value_name = "JSON|@FILE", default_value = "{}")]
    plugin_config: String,
    /// The channel whose limits hold
    #[arg(long, default_value = "whatsapp")]
    channel: Channel,
    /// How often a turn is tried; the pauses between the tries are skipped
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    attempts: u32,
}

/// Whether the conversation goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Line,
    End,
}

impl Args {
    pub(super) async fn run(self, context: &Context, json: bool) -> anyhow::Result<Answer> {
        let mut signals = Signals::watch()?;
        let interactive = io::stdin().is_terminal() && !json;
        let input = BufReader::new(tokio::io::stdin());
        let mut chat = Chat {
            out: io::stdout(),
            json,
            interactive,
            failed: false,
        };
        tokio::select! {
            done = chat.talk(context, &self, input) => match done {
                // Whoever reads only the first lines, as `head` does, has seen enough.
                Err(error) if is_broken_pipe(&error) => {}
                done => done?,
            },
            // The store is thrown away on the way out, as after the last line.
            () = signals.next() => {}
        }
        let answer = Answer::silent();
        Ok(if chat.failed { answer.bad() } else { answer })
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io = error.downcast_ref::<io::Error>();
    io.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

struct Chat<W> {
    out: W,
    json: bool,
    /// Somebody types: they see a prompt, and what they typed.
    interactive: bool,
    failed: bool,
}

impl<W: Write> Chat<W> {
    async fn talk(
        &mut self,
        context: &Context,
        args: &Args,
        mut input: impl AsyncBufRead + Unpin,
    ) -> anyhow::Result<()> {
        let component = read_component(&args.file)?;
        let config = config_of(&args.plugin_config)?;
        let scratch = context.scratch()?;
        let runtime = &scratch.runtime;
        let checked = runtime
            .check(&component)
            .await
            .with_context(|| args.file.display().to_string())?;
        let plugin = runtime
            .load(&checked.digest, || async {
                Ok::<_, io::Error>(component.clone())
            })
            .await?;
        if let Err(problems) = runtime.validate_config(&plugin, &config).await? {
            return Err(refusal(&problems, "Change it with --plugin-config"));
        }
        let manifest = checked.manifest;
        let candidate = Candidate {
            digest: checked.digest,
            component,
            config,
            channel: args.channel.into(),
            attempts: args.attempts,
        };
        self.show(&[Line::Plugin {
            name: manifest.name,
            version: manifest.version,
            description: manifest.description,
            digest: candidate.digest.to_string(),
        }])?;
        let mut session = Session::open(runtime, &candidate, context.clock().now()).await?;
        while let Some(said) = self.next_line(&mut input).await? {
            if said.trim() == "/reset" {
                session = Session::open(runtime, &candidate, session.now()).await?;
                self.show(&[Line::note("everything is forgotten")])?;
            } else if self.answer(&mut session, &said).await? == Next::End {
                break;
            }
        }
        Ok(())
    }

    /// The next line that says something; none at the end.
    async fn next_line(
        &mut self,
        input: &mut (impl AsyncBufRead + Unpin),
    ) -> anyhow::Result<Option<String>> {
        loop {
            if self.interactive {
                write!(self.out, "you> ")?;
                self.out.flush()?;
            }
            let mut line = Vec::new();
            let mut limited = (&mut *input).take(LINE_BYTES);
            if limited.read_until(b'\n', &mut line).await? == 0 {
                return Ok(None);
            }
            anyhow::ensure!(
                limited.limit() > 0,
                "a line has more than {LINE_BYTES} bytes"
            );
            let line = String::from_utf8_lossy(&line);
            let line = line.trim_end_matches(['\n', '\r']);
            if !line.trim().is_empty() {
                if !self.interactive && !self.json {
                    writeln!(self.out, "you> {}", super::table::plain(line))?;
                }
                return Ok(Some(line.to_owned()));
            }
        }
    }

    async fn answer(&mut self, session: &mut Session, said: &str) -> anyhow::Result<Next> {
        let (word, rest) = said.trim().split_once(' ').unwrap_or((said.trim(), ""));
        let lines = match word {
            "/quit" => return Ok(Next::End),
            "/help" => vec![Line::note(HELP)],
            "/state" => session.state().await?,
            "/timer" => session.fire_timer().await?,
            "/resume" => session.resume().await?,
            "/button" if rest.is_empty() => vec![Line::note("say which: /button ID")],
            "/button" => session.press(rest.trim()).await?,
            _ => match said.strip_prefix('/') {
                Some(text) if text.starts_with('/') => session.say(Content::text(text)).await?,
                Some(_) => vec![Line::note(format!(
                    "there is no {word}; /help tells what there is"
                ))],
                None => session.say(Content::text(said)).await?,
            },
        };
        self.show(&lines)?;
        Ok(Next::Line)
    }

    fn show(&mut self, lines: &[Line]) -> anyhow::Result<()> {
        for line in lines {
            self.failed |= matches!(line, Line::Failure { .. });
            if self.json {
                writeln!(self.out, "{}", serde_json::to_string(line)?)?;
            } else {
                self.out.write_all(line.text().as_bytes())?;
            }
        }
        Ok(self.out.flush()?)
    }
}

#[cfg(test)]
mod tests {
    use super::super::context::testing::TestContext;
    use super::*;

    async fn chat(plugin: &str, config: &str, json: bool, input: &str) -> (String, bool) {
        let t = TestContext::new();
        let args = Args {
            file: PathBuf::from(TestContext::component(plugin)),
            plugin_config: config.to_owned(),
            channel: Channel::Whatsapp,
            attempts: 1,
        };
        let mut chat = Chat {
            out: Vec::new(),
            json,
            interactive: false,
            failed: false,
        };
        chat.talk(&t.context, &args, input.as_bytes())
            .await
            .unwrap();
        (String::from_utf8(chat.out).unwrap(), chat.failed)
    }

    /// Without what the machine decides: time and memory.
    fn steady(text: &str) -> String {
        let lines = text.lines().map(|line| match line.split_once(" CPU, ") {
            Some((before, _)) => before
                .rsplit_once(": ")
                .map_or(before, |(kept, _)| kept)
                .to_owned(),
            None => line.to_owned(),
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    #[tokio::test]
    async fn echo_answers_what_is_piped_in() {
        let (text, failed) = chat("echo", "{}", false, "hi\n\nhi\n").await;
        assert!(!failed);
        insta::assert_snapshot!(steady(&text), @r"
        echo 0.1.0: Answers each message with what was said (/help, /quit)
        you> hi
          turn      done
        bot> You said: hi
        you> hi
          turn      done
        bot> You said: hi
        ");
    }

    #[tokio::test]
    async fn a_menu_is_walked_through_with_its_buttons_state_and_timer() {
        let input = "hello\n/timer\n/button hours\n/timer\n/state\n/button agent\nhello?\n/resume\n/reset\n/state\n/nope\n/quit\nnever said\n";
        let (text, failed) = chat("menu", r#"{"business": "Joe's"}"#, false, input).await;
        assert!(!failed, "{text}");
        insta::assert_snapshot!(steady(&text), @r"
        menu 0.1.0: A menu with buttons, a memory and a follow-up (/help, /quit)
        you> hello
          timer     follow-up is taken back
          timer     follow-up in 1h
          state     prospect.menu.visits += 1
          turn      done
        bot> Welcome to Joe's. What can I do for you?
             [Opening hours]  /button hours
             [Where we are]  /button address
             [Talk to a person]  /button agent
        you> /timer
          note      the timer follow-up fires
          turn      done
        bot> Are you still there? Write “menu” to see what I can do, or “agent” to talk to a person.
        you> /button hours
          timer     follow-up is taken back
          state     prospect.menu.last-topic = hours
          tag       topic = hours
          turn      done
        bot> We are open Monday to Friday, 9:00 to 18:00.
        you> /timer
          note      no timer is set
        you> /state
          state     prospect.menu.last-topic = hours
          state     prospect.menu.visits = 1
        you> /button agent
          timer     follow-up is taken back
          tag       waiting-for = human
          handover  to a human: The prospect asked for a person.; /resume hands it back
          turn      done
        bot> A colleague will answer you here.
        you> hello?
          note      a human has this conversation, so the plugin does not see it; /resume hands it back
        you> /resume
          turn      done
        you> /reset
          note      everything is forgotten
        you> /state
          note      the plugin keeps nothing
        you> /nope
          note      there is no /nope; /help tells what there is
        you> /quit
        ");
    }

    #[tokio::test]
    async fn a_trap_is_told_with_whose_fault_it_is() {
        let (text, failed) = chat("test-trap", "{}", false, "hi\n").await;
        assert!(failed);
        assert!(text.contains("the plugin's fault"), "{text}");
    }

    #[tokio::test]
    async fn programs_get_an_object_a_line() {
        let (text, _) = chat("echo", "{}", true, "hi\n").await;
        let lines: Vec<serde_json::Value> = text
            .lines()
            .map(|l| serde_json::from_str(l).unwrap())
            .collect();
        let types: Vec<_> = lines.iter().map(|l| l["type"].as_str().unwrap()).collect();
        assert_eq!(types, ["plugin", "turn", "reply"]);
        assert_eq!(lines[2]["message"]["text"], "You said: hi");
    }

    #[tokio::test]
    async fn a_configuration_that_the_plugin_refuses_is_told() {
        let t = TestContext::new();
        let menu = TestContext::component("menu");
        let line = format!("chat {menu} --plugin-config {{\"nope\":1}}");
        let error = t.run(&line).await.unwrap_err();
        assert!(
            error.to_string().contains("refuses the configuration"),
            "{error}"
        );
    }
}
