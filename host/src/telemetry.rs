//! What the process tells of itself: log lines on the console and in `logs/app.log`, and figures for Prometheus.
//!
//! Names of metrics stand as constants beside what counts them; here is only what they have in common.

mod batch;
mod file;
mod line;

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::time::Duration;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing::Subscriber;
use tracing_subscriber::Registry;
use tracing_subscriber::filter::{EnvFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::writer::MakeWriterExt as _;
use tracing_subscriber::layer::{Layer, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::model::Clock;

use batch::{Writing, hand_over};
use file::{Console, LogFile};
use line::{Fields, JsonLine, TextLine};

/// Where log lines go, and which.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// A file of plain lines; none: no file.
    pub file: Option<PathBuf>,
    /// What is logged, as directives of `tracing_subscriber::EnvFilter`.
    pub filter: String,
    /// How the console shows it.
    pub format: Format,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            file: Some(PathBuf::from("logs/app.log")),
            filter: "info".to_owned(),
            format: Format::Text,
        }
    }
}

/// How the console shows a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Format {
    /// Reads its word.
    ///
    /// # Errors
    /// If it is neither.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            other => Err(format!("{other:?} is no format: write text or json")),
        }
    }

    /// Its word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
    }
}

/// Takes a filter if it is one.
///
/// # Errors
/// If it is none, in words for whoever wrote it.
pub fn check_filter(text: &str) -> Result<String, String> {
    let filter = EnvFilter::builder().parse(text);
    filter.map(|_| text.to_owned()).map_err(|error| {
        format!("{text:?} is no filter ({error}): write a level such as info, or directives such as info,plugin=warn")
    })
}

/// Why telemetry can't start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The log file can't be opened.
    #[error("can't open the log file {}: {source}; set log.file to a place where this user may write, or to \"\"", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The filter is none.
    #[error("log.filter: {0}")]
    Filter(String),
    /// A thread that writes lines, or keeps figures small, can't be started.
    #[error(
        "can't start a thread for log lines and figures: {0}; raise this user's limit of processes"
    )]
    Thread(std::io::Error),
    /// Something else in this process has started it already.
    #[error("log lines or figures of this process go elsewhere already: {0}")]
    Taken(String),
}

/// The longest a histogram's values wait before they are counted into their buckets. Until then each takes memory.
const UPKEEP: Duration = Duration::from_secs(5);

/// Upper bounds for every histogram of seconds: from a plugin's microseconds to a stuck provider's minute.
const SECONDS: [f64; 14] = [
    0.000_1, 0.000_5, 0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0,
];

/// Upper bounds for every other histogram: they count things of a batch.
const COUNTS: [f64; 9] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 512.0];

/// The figures of this process.
#[derive(Clone)]
pub struct Metrics(PrometheusHandle);

/// As long as this lives, log lines are written; what waits is written when it is dropped. It belongs to whoever logs last.
#[must_use = "no line is written any more once it is dropped"]
pub struct LogLines {
    _threads: Vec<Writing>,
}

impl Metrics {
    /// The figures in Prometheus' text format.
    #[must_use]
    pub fn render(&self) -> String {
        self.0.render()
    }
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}

/// Starts log lines on the console and in the file, and figures. It can be done once in a process. Where nothing has started
/// figures, as in [`start_with`] and [`start_quiet`], counting them does nothing and takes no memory.
///
/// # Errors
/// If the file can't be opened, or something has done it before.
pub fn start(settings: &Settings) -> Result<(Metrics, LogLines), Error> {
    let (file, filter) = (open_file(settings)?, gate(settings)?);
    let (layers, lines) = layers(file, settings.format).map_err(Error::Thread)?;
    tracing_subscriber::registry()
        .with(filter)
        .with(layers)
        .try_init()
        .map_err(|error| Error::Taken(error.to_string()))?;
    let recorder = recorder().map_err(|error| Error::Taken(error.to_string()))?;
    let handle = recorder
        .install_recorder()
        .map_err(|error| Error::Taken(error.to_string()))?;
    let counted = handle.clone();
    keep_up(UPKEEP, move || counted.run_upkeep()).map_err(Error::Thread)?;
    Ok((Metrics(handle), LogLines { _threads: lines }))
}

/// What lets events and spans through. Only directives that name spans need a filter that follows those at each of their steps, which
/// costs as much as making the lines.
fn gate<S>(settings: &Settings) -> Result<Box<dyn Layer<S> + Send + Sync>, Error>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let follows = filter(settings)?;
    // What the two read in different ways is left to the one whose words the setting is in.
    let is_plain = |piece: &str| !piece.is_empty() && !piece.ends_with('=') && !piece.contains('[');
    match settings.filter.parse::<Targets>() {
        Ok(plain) if settings.filter.split(',').map(str::trim).all(is_plain) => Ok(plain.boxed()),
        _ => Ok(follows.boxed()),
    }
}

type Layers<S> = Vec<Box<dyn Layer<S> + Send + Sync>>;

/// What makes lines for the file and for the console, and the threads that write them. Where both show the same, one makes them for both.
fn layers<S>(file: Option<LogFile>, format: Format) -> std::io::Result<(Layers<S>, Vec<Writing>)>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let (stderr, is_terminal) = (Console::open(), std::io::stderr().is_terminal());
    let file = match file {
        Some(file) if format == Format::Text && !is_terminal => {
            let (file, of_file) = hand_over("log-file", file)?;
            let (stderr, of_console) = hand_over("log-console", stderr)?;
            let both = text_layer(file.and(stderr), false).boxed();
            return Ok((vec![both], vec![of_file, of_console]));
        }
        file => file,
    };
    let (stderr, writing) = hand_over("log-console", stderr)?;
    let console = match format {
        Format::Text => text_layer(stderr, is_terminal).boxed(),
        Format::Json => tracing_subscriber::fmt::layer()
            .fmt_fields(Fields)
            .with_ansi(false)
            .event_format(JsonLine::new(Clock::System))
            .with_writer(stderr)
            .boxed(),
    };
    let (mut layers, mut threads) = (vec![console], vec![writing]);
    if let Some(file) = file {
        let (file, writing) = hand_over("log-file", file)?;
        layers.push(text_layer(file, false).boxed());
        threads.push(writing);
    }
    Ok((layers, threads))
}

/// Does `upkeep` every so often, whether or not anybody asks for the figures, for as long as the process lives: the recorder
/// does too, and whoever installs one can't forget it.
fn keep_up(every: Duration, upkeep: impl Fn() + Send + 'static) -> std::io::Result<()> {
    let thread = std::thread::Builder::new().name("metrics".to_owned());
    thread
        .spawn(move || {
            loop {
                std::thread::sleep(every);
                upkeep();
            }
        })
        .map(drop)
}

/// Starts log lines in the file, and shows `watcher` the same events instead of the console. It can be done once in a process.
///
/// # Errors
/// Like [`start`].
pub fn start_with(
    settings: &Settings,
    watcher: impl Layer<Registry> + Send + Sync,
) -> Result<(), Error> {
    let (file, filter) = (open_file(settings)?, filter(settings)?);
    let file = file.map(|file| text_layer(file, false));
    tracing_subscriber::registry()
        .with(watcher.and_then(file).with_filter(filter))
        .try_init()
        .map_err(|error| Error::Taken(error.to_string()))
}

/// Starts log lines on the console only, for a command that does one thing and ends.
///
/// # Errors
/// If something in this process has done it before.
pub fn start_quiet(filter: &str) -> Result<(), Error> {
    let console = text_layer(std::io::stderr, std::io::stderr().is_terminal());
    tracing_subscriber::registry()
        .with(EnvFilter::new(filter))
        .with(console)
        .try_init()
        .map_err(|error| Error::Taken(error.to_string()))
}

/// The file that the settings name.
fn open_file(settings: &Settings) -> Result<Option<LogFile>, Error> {
    let Some(path) = &settings.file else {
        return Ok(None);
    };
    let file = LogFile::open(path.clone()).map_err(|source| Error::File {
        path: path.clone(),
        source,
    })?;
    Ok(Some(file))
}

/// Lines as the seed shows them.
fn text_layer<S, W>(writer: W, in_colour: bool) -> impl Layer<S> + Send + Sync + use<S, W>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    tracing_subscriber::fmt::layer()
        .event_format(TextLine::new(Clock::System))
        .fmt_fields(Fields)
        .with_ansi(in_colour)
        .with_writer(writer)
}

fn filter(settings: &Settings) -> Result<EnvFilter, Error> {
    EnvFilter::builder()
        .parse(&settings.filter)
        .map_err(|error| Error::Filter(error.to_string()))
}

fn recorder() -> Result<PrometheusBuilder, metrics_exporter_prometheus::BuildError> {
    PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)?
        .set_buckets(&COUNTS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn histograms_have_a_fixed_number_of_buckets() {
        let recorder = recorder().unwrap().build_recorder();
        metrics::with_local_recorder(&recorder, || {
            metrics::histogram!("test_wait_seconds").record(0.002);
            metrics::histogram!("test_batch").record(3.0);
        });
        let text = recorder.handle().render();
        assert!(
            text.contains("test_wait_seconds_bucket{le=\"0.005\"} 1"),
            "{text}"
        );
        assert!(text.contains("test_batch_bucket{le=\"4\"} 1"), "{text}");
    }

    #[test]
    fn figures_are_kept_small_without_anybody_asking_for_them() {
        let (done, seen) = std::sync::mpsc::channel();
        keep_up(Duration::from_millis(1), move || {
            done.send(()).unwrap_or_default();
        })
        .unwrap();
        for _ in 0..3 {
            seen.recv_timeout(Duration::from_secs(30)).unwrap();
        }
    }

    #[test]
    fn a_filter_that_is_none_is_refused() {
        assert!(check_filter("info,plugin=warn").is_ok());
        assert!(check_filter("nodepath=loud").is_err());
    }
}
