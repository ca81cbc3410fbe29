//! What a message costs: the real executable, signed webhooks over HTTP, a played provider that takes the replies, all on this
//! machine. `cargo xtask bench` builds both and runs this.
//!
//! Load and provider run on one thread of this process, so that the host keeps most of two cores. Beside the figures stand two
//! probes of the same run, of the disk and of the processor: figures of different runs compare by their ratio to those. A third column shows
//! what an answer takes for which the host does nothing, since that much of an ack is HTTP and waking up.

mod host;
mod load;
mod probe;
mod provider;
mod report;
mod syncs;
mod webhook;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::Parser;
use tokio::task::LocalSet;

use host::Site;
use load::Driver;
use provider::Provider;
use report::Report;

/// What to measure, and with what.
#[derive(Parser)]
struct Arguments {
    /// The executable, built for release.
    #[arg(long)]
    executable: PathBuf,
    /// The component of the echo plugin.
    #[arg(long)]
    plugin: PathBuf,
    /// Where the database lies: its disk is what is measured.
    #[arg(long)]
    dir: PathBuf,
    /// A minute instead of five, and a sixth of what is asked, since a busy machine must not fail a build.
    #[arg(long)]
    quick: bool,
}

/// How long each part runs, and how often.
struct Plan {
    warm_up: Duration,
    saturation: Duration,
    steady: Duration,
    bare: Duration,
    rounds: usize,
}

impl Plan {
    fn of(arguments: &Arguments) -> Self {
        let seconds = Duration::from_secs;
        if arguments.quick {
            Self {
                warm_up: seconds(3),
                saturation: seconds(8),
                steady: seconds(8),
                bare: seconds(2),
                rounds: 1,
            }
        } else {
            Self {
                warm_up: seconds(5),
                saturation: seconds(20),
                steady: seconds(20),
                bare: seconds(5),
                rounds: 3,
            }
        }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let measured = runtime
        .map_err(anyhow::Error::from)
        .and_then(|runtime| LocalSet::new().block_on(&runtime, measure(&arguments)));
    match measured {
        Ok(report) => {
            report.print();
            if report.is_reached() {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            }
        }
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn measure(arguments: &Arguments) -> Result<Report> {
    let plan = Plan::of(arguments);
    let provider = Provider::start().await?;
    let mut report = Report::new(arguments.quick);
    for round in 1..=plan.rounds {
        eprintln!("bench: round {round} of {}", plan.rounds);
        // Each begins with an empty database, as those of the peers did.
        let site = Site::set_up(arguments, &provider).await?;
        run_round(&site, &provider, &plan, &mut report).await?;
    }
    let site = Site::set_up(arguments, &provider).await?;
    report.syncs = syncs::count(&site, &provider).await?;
    Ok(report)
}

/// A round on a host of its own: warm up, saturation, then the steady load, with the probes before and after each.
async fn run_round(
    site: &Site,
    provider: &Provider,
    plan: &Plan,
    report: &mut Report,
) -> Result<()> {
    let host = site.serve().await?;
    let driver = Driver::new(&host, provider);
    driver.saturate(plan.warm_up).await?;
    let before = probe::take(site.dir())?;
    let saturation = driver.saturate(plan.saturation).await?;
    let between = probe::take(site.dir())?;
    let latency = driver.steady(plan.steady).await?;
    let bare = driver.bare_answers(plan.bare).await?;
    let after = probe::take(site.dir())?;
    report.add(saturation, latency, bare, &[&before, &between, &after]);
    host.stop().await
}
