//! Credentials from the command line. Secrets come from files, standard input or the environment: what stands on a command
//! line, every user of the machine can read.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use clap::Args;
use rand::Rng as _;
use serde_json::{Map, Value, json};

use super::super::answer::Usage;
use super::super::files::read_text;
use crate::channel;
use crate::model::{ChannelKind, Credentials, Secret};
use crate::store;

#[derive(Debug, Args)]
pub(in super::super) struct CredentialArgs {
    /// All of them as a JSON object, from a file or, for -, from standard input; its names are those of the options below
    #[arg(long, value_name = "FILE|-")]
    credentials: Option<String>,
    /// whatsapp: the App secret of the App dashboard, which signs webhooks
    #[arg(long, value_name = "env:NAME|@FILE", help_heading = "Credentials")]
    app_secret: Option<Source>,
    /// whatsapp: the access token of the Graph API
    #[arg(long, value_name = "env:NAME|@FILE", help_heading = "Credentials")]
    access_token: Option<Source>,
    /// whatsapp: what Meta repeats when it checks the webhook's address [default: one is made]
    #[arg(long, value_name = "env:NAME|@FILE", help_heading = "Credentials")]
    verify_token: Option<Source>,
    /// whatsapp: the number's id at Meta; no secret
    #[arg(long, value_name = "ID", help_heading = "Credentials")]
    phone_number_id: Option<String>,
    /// whatsapp: where the Graph API is, with its version
    #[arg(long, value_name = "URL", help_heading = "Credentials")]
    api_base: Option<String>,
    /// generic: where replies are posted
    #[arg(long, value_name = "URL", help_heading = "Credentials")]
    url: Option<String>,
    /// generic: `whsec_…` that signs webhooks to this host; several during a rotation [default: one is made]
    #[arg(long, value_name = "env:NAME|@FILE", help_heading = "Credentials")]
    inbound: Vec<Source>,
    /// generic: `whsec_…` that signs replies; several during a rotation [default: one is made]
    #[arg(long, value_name = "env:NAME|@FILE", help_heading = "Credentials")]
    outbound: Vec<Source>,
}

/// A secret that was made here.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) name: &'static str,
    pub(super) secret: Secret,
}

/// Where a secret is to be read from.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Source {
    Env(String),
    File(String),
    /// The text itself, which is refused and not kept.
    Inline,
}

impl FromStr for Source {
    /// What is wrong is told when it is read: clap would repeat the text, which may be the secret itself.
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(if let Some(name) = text.strip_prefix("env:") {
            Self::Env(name.to_owned())
        } else if let Some(path) = text.strip_prefix('@') {
            Self::File(path.to_owned())
        } else {
            Self::Inline
        })
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "the environment variable {name}"),
            Self::File(path) => write!(f, "the file {path}"),
            Self::Inline => f.write_str("a secret from the command line"),
        }
    }
}

impl Source {
    fn read(&self) -> Result<String, Usage> {
        let text = match self {
            Self::Env(name) => std::env::var(name).map_err(|error| error.to_string()),
            Self::File(path) => read_text(path).map_err(|error| error.to_string()),
            Self::Inline => Err(
                "every user of this machine can see it there; write env:NAME or @FILE".to_owned(),
            ),
        };
        match text.map(|text| text.trim().to_owned()) {
            Ok(text) if !text.is_empty() => Ok(text),
            Ok(_) => Err(Usage(format!("{self} is empty"))),
            Err(error) => Err(Usage(format!("can't read {self}: {error}"))),
        }
    }
}

impl CredentialArgs {
    pub(super) fn is_empty(&self) -> bool {
        let no_keys = self.inbound.is_empty() && self.outbound.is_empty();
        no_keys
            && self.credentials.is_none()
            && self.texts().is_empty()
            && self.sources().is_empty()
    }

    /// Credentials of a new device, and the secrets among them that were made.
    pub(super) fn new_for(&self, channel: ChannelKind) -> Result<(Credentials, Vec<Made>), Usage> {
        let mut fields = self.fields()?;
        let made = make_missing(channel, &mut fields);
        Ok((credentials(channel, fields)?, made))
    }

    /// A device's credentials with those replaced that are given.
    pub(super) fn replacing(
        &self,
        present: &Credentials,
    ) -> Result<(Credentials, Vec<Made>), Usage> {
        let mut fields = match serde_json::from_slice(&present.to_sealable_json()) {
            Ok(Value::Object(fields)) => fields,
            _ => Map::new(),
        };
        fields.extend(self.fields()?);
        let made = make_missing(present.channel(), &mut fields);
        Ok((credentials(present.channel(), fields)?, made))
    }

    /// Credentials of a device whose old ones can't be opened, for the reason `why`.
    pub(super) fn in_place_of_lost(
        &self,
        channel: ChannelKind,
        why: &store::Error,
    ) -> Result<Credentials, Usage> {
        credentials(channel, self.fields()?).map_err(|Usage(problems)| {
            Usage(format!(
                "those that were there can't be opened, so all must be given; {problems}\n  because: {why}"
            ))
        })
    }

    /// What is given, the options winning over the file.
    fn fields(&self) -> Result<Map<String, Value>, Usage> {
        let mut fields = match &self.credentials {
            None => Map::new(),
            Some(path) => read_object(path)?,
        };
        for (name, text) in self.texts() {
            fields.insert(name.to_owned(), json!(text));
        }
        for (name, source) in self.sources() {
            fields.insert(name.to_owned(), json!(source.read()?));
        }
        for (name, sources) in [("inbound", &self.inbound), ("outbound", &self.outbound)] {
            if !sources.is_empty() {
                let secrets = sources
                    .iter()
                    .map(Source::read)
                    .collect::<Result<Vec<_>, _>>()?;
                fields.insert(name.to_owned(), json!(secrets));
            }
        }
        Ok(fields)
    }

    fn texts(&self) -> Vec<(&'static str, &str)> {
        let texts = [
            ("phone_number_id", &self.phone_number_id),
            ("api_base", &self.api_base),
            ("url", &self.url),
        ];
        texts
            .into_iter()
            .filter_map(|(name, text)| Some((name, text.as_deref()?)))
            .collect()
    }

    fn sources(&self) -> Vec<(&'static str, &Source)> {
        let one = [
            ("app_secret", &self.app_secret),
            ("access_token", &self.access_token),
            ("verify_token", &self.verify_token),
        ];
        let one = one
            .into_iter()
            .filter_map(|(name, source)| Some((name, source.as_ref()?)));
        one.collect()
    }
}

fn read_object(path: &str) -> Result<Map<String, Value>, Usage> {
    let text = read_text(path)
        .map_err(|error| Usage(format!("can't read credentials from {path}: {error}")))?;
    // The parser's own words could carry pieces of a secret.
    serde_json::from_str(&text).map_err(|_| {
        Usage(format!(
            "{path} does not hold a JSON object, such as {{\"app_secret\": \"…\"}}"
        ))
    })
}

/// Makes the secrets that either side may choose and that are not given.
fn make_missing(channel: ChannelKind, fields: &mut Map<String, Value>) -> Vec<Made> {
    let mut made = Vec::new();
    let mut make = |name: &'static str, secret: String, value: fn(&str) -> Value| {
        if !fields.contains_key(name) {
            fields.insert(name.to_owned(), value(&secret));
            made.push(Made {
                name,
                secret: Secret::new(secret),
            });
        }
    };
    match channel {
        ChannelKind::Whatsapp => make("verify_token", hex::encode(random()), |text| json!(text)),
        ChannelKind::Generic => {
            for name in ["inbound", "outbound"] {
                let secret = format!("whsec_{}", BASE64.encode(random()));
                make(name, secret, |text| json!([text]));
            }
        }
    }
    made
}

/// As long as Standard Webhooks asks of a secret, from 24 to 64 bytes.
fn random() -> [u8; 32] {
    let mut bytes = [0; 32];
    rand::rng().fill_bytes(&mut bytes);
    bytes
}

/// Makes credentials of fields; every problem is told, and no value.
fn credentials(channel: ChannelKind, mut fields: Map<String, Value>) -> Result<Credentials, Usage> {
    let mut problems = Vec::new();
    let named = fields.remove("channel");
    if named.is_some_and(|named| named != channel.as_str()) {
        problems.push(format!(
            "they are for another channel than {}",
            channel.as_str()
        ));
    }
    let expected: &[Field] = match channel {
        ChannelKind::Whatsapp => &WHATSAPP,
        ChannelKind::Generic => &GENERIC,
    };
    for field in expected {
        match fields.get(field.name) {
            None if field.required => problems.push(format!(
                "{} is missing; give --{}",
                field.name,
                field.name.replace('_', "-")
            )),
            None => {}
            Some(value) if field.shape.fits(value) => {}
            Some(_) => problems.push(format!("{} must be {}", field.name, field.shape.words())),
        }
    }
    for name in fields
        .keys()
        .filter(|name| expected.iter().all(|f| f.name != **name))
    {
        problems.push(format!("a {} device has no {name}", channel.as_str()));
    }
    if problems.is_empty() {
        fields.insert("channel".to_owned(), json!(channel.as_str()));
        match serde_json::from_value(Value::Object(fields)) {
            Ok(credentials) => match channel::check_credentials(&credentials) {
                Ok(()) => return Ok(credentials),
                Err(bad) => {
                    problems.extend(bad.iter().map(|bad| format!("{} {}", bad.field, bad.rule)));
                }
            },
            Err(_) => problems.push("they are not those of this channel".to_owned()),
        }
    }
    Err(Usage(format!(
        "credentials: {}",
        problems.join("\n  and: ")
    )))
}

/// What a channel needs. Whether it can work is the channel's own to say.
struct Field {
    name: &'static str,
    required: bool,
    shape: Shape,
}

#[derive(Clone, Copy)]
enum Shape {
    Text,
    Texts,
}

impl Shape {
    fn fits(self, value: &Value) -> bool {
        match self {
            Self::Text => value.is_string(),
            Self::Texts => value
                .as_array()
                .is_some_and(|all| all.iter().all(Value::is_string)),
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Text => "a text",
            Self::Texts => "an array of texts",
        }
    }
}

const fn required(name: &'static str, shape: Shape) -> Field {
    Field {
        name,
        required: true,
        shape,
    }
}

const WHATSAPP: [Field; 5] = [
    required("app_secret", Shape::Text),
    required("access_token", Shape::Text),
    required("verify_token", Shape::Text),
    required("phone_number_id", Shape::Text),
    Field {
        name: "api_base",
        required: false,
        shape: Shape::Text,
    },
];

const GENERIC: [Field; 3] = [
    required("url", Shape::Text),
    required("inbound", Shape::Texts),
    required("outbound", Shape::Texts),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn made_from(channel: ChannelKind, fields: Value) -> Result<(Credentials, Vec<Made>), String> {
        let Value::Object(mut fields) = fields else {
            panic!("not an object")
        };
        let made = make_missing(channel, &mut fields);
        match credentials(channel, fields) {
            Ok(credentials) => Ok((credentials, made)),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn secrets_that_we_may_choose_are_made() {
        let fields = json!({ "url": "https://example.test/in" });
        let (credentials, made) = made_from(ChannelKind::Generic, fields).unwrap();
        assert_eq!(
            made.iter().map(|m| m.name).collect::<Vec<_>>(),
            ["inbound", "outbound"]
        );
        let Credentials::Generic {
            inbound, outbound, ..
        } = credentials
        else {
            panic!("another channel")
        };
        assert_eq!(inbound, [made[0].secret.clone()]);
        assert_ne!(inbound, outbound);
        assert!(inbound[0].expose().starts_with("whsec_"));
    }

    #[test]
    fn everything_that_is_wrong_is_told_and_no_value() {
        let fields = json!({
            "app_secret": 7, "phone_number_id": "1", "api_base": ["hunter2"], "url": "hunter2"
        });
        let error = made_from(ChannelKind::Whatsapp, fields).unwrap_err();
        assert!(!error.contains("hunter2"));
        insta::assert_snapshot!(error, @r"
        credentials: app_secret must be a text
          and: access_token is missing; give --access-token
          and: api_base must be a text
          and: a whatsapp device has no url
        ");
        let fields = json!({
            "app_secret": "", "access_token": "hunter2\n", "phone_number_id": "+49 hunter2", "api_base": "ftp://hunter2"
        });
        let error = made_from(ChannelKind::Whatsapp, fields).unwrap_err();
        assert!(!error.contains("hunter2"));
        insta::assert_snapshot!(error, @r"
        credentials: app_secret must be one or more visible ASCII characters without spaces
          and: access_token must be one or more visible ASCII characters without spaces
          and: phone_number_id must be the number's id at Meta: digits only, and not the telephone number itself
          and: api_base must be an absolute http or https URL
        ");
    }

    #[test]
    fn what_is_given_replaces_and_the_rest_stays() {
        let fields = json!({
            "app_secret": "a", "access_token": "b", "verify_token": "c", "phone_number_id": "1",
        });
        let (present, _) = made_from(ChannelKind::Whatsapp, fields).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        std::fs::write(&path, "fresh\n").unwrap();
        let args = CredentialArgs {
            credentials: None,
            app_secret: None,
            access_token: Some(Source::File(path.display().to_string())),
            verify_token: None,
            phone_number_id: None,
            api_base: None,
            url: None,
            inbound: vec![],
            outbound: vec![],
        };
        let (changed, made) = args.replacing(&present).unwrap();
        assert!(made.is_empty());
        let json: Value = serde_json::from_slice(&changed.to_sealable_json()).unwrap();
        assert_eq!(
            (&json["access_token"], &json["app_secret"]),
            (&json!("fresh"), &json!("a"))
        );
    }

    #[test]
    fn a_secret_on_the_command_line_is_refused_and_not_repeated() {
        let source: Source = "hunter2".parse().unwrap();
        let error = source.read().unwrap_err().to_string();
        assert!(!error.contains("hunter2") && error.contains("env:NAME or @FILE"));
        assert_eq!("@x".parse(), Ok(Source::File("x".to_owned())));
    }
}
