//! One run: everything registered, then refused, then contained, then measured.

use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use crate::Options;
use crate::attacks::{ATTACKS, Attack, Component, REFUSALS, Refusal};
use crate::load::{Counts, Prospects, Target};
use crate::measure::{Cpu, Times, memory};
use crate::provider::{self, Screens};
use crate::report::{Report, Row};
use crate::site::{Host, Recorded, Site};

/// What the innocent tenant's prospects write in a second.
const INNOCENT_RATE: u32 = 100;
const INNOCENT_CONVERSATIONS: u32 = 200;

/// What the attacker's prospects write in a second: with an endless loop in each turn, more than two cores can run.
const ATTACK_RATE: u32 = 50;
const ATTACK_CONVERSATIONS: u32 = 12;

/// What waits of the attacker's at most, so that an attack ends soon after its window.
const ATTACK_PENDING: &str = "20";

/// Each message is one turn, which may compute for this long. Its memory is what every device has.
const ATTACK_SETTINGS: [&str; 3] = ["max_attempts=1", "overlap=queue", "budget.cpu=200ms"];

/// How long an attack may take to end once nobody writes any more: what waits at 200 ms each, on a machine that does other things.
const DRAIN: Duration = Duration::from_secs(60);

/// How often an attack is measured at most: whatever else the machine does can make one window slow, and seldom each.
const TRIES: u32 = 3;

/// The innocent tenant's device.
const SHOP: &str = "shop";

/// A run that is ready to begin.
pub(crate) struct Campaign {
    site: Site,
    screens: Screens,
    attacks: Vec<&'static Attack>,
    refusals: Vec<(&'static Refusal, String)>,
    is_quick: bool,
}

/// A host under load, and who loads it.
struct Running<'a> {
    campaign: &'a Campaign,
    host: Host,
    prospects: Prospects,
}

impl Campaign {
    /// Registers everybody through the command line.
    pub(crate) async fn prepare(options: &Options) -> Result<Self> {
        let screens = Screens::default();
        let provider = provider::start(screens.clone()).await?;
        let site = Site::new(&options.executable, &options.compiled, provider)?;
        site.run(&["tenant", "add", "innocent"]).await?;
        site.run(&["tenant", "add", "attacker", "--max-pending", ATTACK_PENDING])
            .await?;
        let echo = component(options, "echo", Component::Rust("echo"))?;
        let echo = site.add_plugin("innocent", "echo", &echo).await?;
        site.add_device("innocent", SHOP, &echo, &[]).await?;
        let is_chosen =
            |name: &str| options.only.is_empty() || options.only.iter().any(|n| n == name);
        let mut campaign = Self {
            site,
            screens,
            attacks: ATTACKS.iter().filter(|a| is_chosen(a.name)).collect(),
            refusals: Vec::new(),
            is_quick: options.is_quick,
        };
        for attack in &campaign.attacks {
            let bytes = component(options, attack.name, attack.component)?;
            let plugin = campaign
                .site
                .add_plugin("attacker", attack.name, &bytes)
                .await;
            let plugin = plugin.with_context(|| format!("{} is refused", attack.name))?;
            let settings = [&ATTACK_SETTINGS[..], &[attack.wall]].concat();
            let site = &campaign.site;
            site.add_device("attacker", attack.name, &plugin, &settings)
                .await?;
        }
        for refusal in REFUSALS.iter().filter(|r| is_chosen(r.name)) {
            let bytes = component(options, refusal.name, refusal.component)?;
            let said = campaign.refuse(refusal.name, &bytes).await;
            campaign.refusals.push((refusal, said));
        }
        Ok(campaign)
    }

    /// What is said to somebody who registers this plugin and gives it to a device; nothing if it is taken.
    async fn refuse(&self, name: &str, component: &[u8]) -> String {
        let given = async {
            let plugin = self.site.add_plugin("attacker", name, component).await?;
            self.site
                .add_device("attacker", name, &plugin, &ATTACK_SETTINGS)
                .await
        };
        given
            .await
            .err()
            .map_or_else(String::new, |error| format!("{error:#}"))
    }

    /// Answers whether everything was contained.
    pub(crate) async fn run(self) -> Result<bool> {
        let host = self.site.serve().await?;
        let prospects = Prospects::of(host.address, self.screens.clone());
        let stop = Rc::new(Notify::new());
        let innocent = {
            let (prospects, stop) = (prospects.clone(), stop.clone());
            let shop = Target {
                device: SHOP.to_owned(),
                conversations: INNOCENT_CONVERSATIONS,
                text: None,
            };
            let written =
                async move { prospects.write(shop, INNOCENT_RATE, stop.notified()).await };
            tokio::task::spawn_local(written)
        };
        let mut running = Running {
            campaign: &self,
            host,
            prospects,
        };
        let mut report = Report::of(&self.refusals);
        running.contain(&mut report).await?;
        running.measure(&mut report).await?;
        stop.notify_one();
        let counts = innocent.await?;
        running.settle(&mut report, &counts).await?;
        running.host.end().await?;
        Ok(report.print())
    }

    /// How long each attack is measured, and how long the innocent tenant is alone before and after it.
    fn window(&self) -> Duration {
        Duration::from_secs(if self.is_quick { 3 } else { 10 })
    }
}

impl Running<'_> {
    /// Each misbehaviour a few times, all at once, and what the host recorded.
    async fn contain(&mut self, report: &mut Report) -> Result<()> {
        let since = now_ms();
        for attack in &self.campaign.attacks {
            self.prospects.burst(target(attack), 3).await?;
        }
        for attack in &self.campaign.attacks {
            self.drained(attack.name).await?;
            let site = &self.campaign.site;
            let recorded = site.recorded(attack.name, since).await?;
            report.contained(attack, &recorded, &site.blamed(attack.name)?);
        }
        report.is_alive &= self.host.is_alive()?;
        Ok(())
    }

    async fn measure(&mut self, report: &mut Report) -> Result<()> {
        let attacks = &self.campaign.attacks;
        let mut before = self.alone().await;
        for attack in attacks
            .iter()
            .filter(|a| a.is_heavy || !self.campaign.is_quick)
        {
            for tries_left in (0..TRIES).rev() {
                let mut row = self.attacked(attack).await?;
                let after = self.alone().await;
                row.alone = before.with(&after);
                row.memory_after = memory(self.host.pid)?;
                before = after;
                report.is_alive &= self.host.is_alive()?;
                let is_slow = row.is_slow();
                report.measured(row, tries_left);
                if !is_slow {
                    break;
                }
            }
        }
        Ok(())
    }

    /// The innocent tenant by itself.
    async fn alone(&self) -> Times {
        let from = Instant::now();
        sleep(self.campaign.window() / 2).await;
        self.innocent(from, Instant::now()).await
    }

    /// What was answered of what came in this time. Those that came last have another moment for their answers.
    async fn innocent(&self, from: Instant, to: Instant) -> Times {
        sleep(Duration::from_millis(200)).await;
        Times::of(self.campaign.screens.latencies(from, to))
    }

    async fn attacked(&mut self, attack: &'static Attack) -> Result<Row> {
        let site = &self.campaign.site;
        let memory_before = memory(self.host.pid)?;
        let (since, from, cpu) = (now_ms(), Instant::now(), Cpu::of(self.host.pid)?);
        let end = sleep(self.campaign.window());
        let written = self.prospects.write(target(attack), ATTACK_RATE, end);
        let (counts, memory_peak) = tokio::join!(written, self.watch_memory());
        let (to, cpu) = (Instant::now(), Cpu::of(self.host.pid)?.since(cpu));
        let (turns, _) = totals(&site.recorded(attack.name, since).await?);
        let (_, own) = totals(&site.recorded(SHOP, since).await?);
        self.drained(attack.name).await?;
        Ok(Row {
            attack,
            meanwhile: self.innocent(from, to).await,
            alone: Times::default(),
            seconds: (to - from).as_secs_f64(),
            turns,
            attacker_cpu: cpu.plugins.saturating_sub(own),
            cpu,
            put_off: counts.put_off.get(),
            failed: counts.failed.get(),
            memory_before,
            memory_peak: memory_peak?,
            memory_after: 0,
        })
    }

    /// The most memory that the host had in this time.
    async fn watch_memory(&self) -> Result<u64> {
        let (end, mut most) = (Instant::now() + self.campaign.window(), 0);
        while Instant::now() < end {
            most = memory(self.host.pid)?.max(most);
            sleep(Duration::from_millis(100)).await;
        }
        Ok(most)
    }

    /// Waits until a device has nothing more to do.
    async fn drained(&self, device: &str) -> Result<()> {
        let site = &self.campaign.site;
        let idle = async {
            while site.busy(device).await? > 0 {
                sleep(Duration::from_millis(50)).await;
            }
            anyhow::Ok(())
        };
        timeout(DRAIN, idle)
            .await
            .with_context(|| format!("{device} never comes to rest"))?
    }

    /// What became of the innocent tenant's messages in the end.
    async fn settle(&self, report: &mut Report, counts: &Counts) -> Result<()> {
        self.drained(SHOP).await?;
        report.innocent_taken = counts.taken.get();
        report.innocent_refused = counts.put_off.get() + counts.failed.get();
        (report.lost, report.doubled) = self.campaign.screens.wrong();
        let recorded = self.campaign.site.recorded(SHOP, 0).await?;
        // A newer message restarts a turn that is slow, which is no failure.
        let failed = recorded
            .iter()
            .filter(|r| !["committed", "superseded"].contains(&r.outcome.as_str()));
        report.innocent_failed = failed.map(|r| r.turns).sum();
        Ok(())
    }
}

/// How many turns were recorded, and what they spent in their plugin.
fn totals(recorded: &[Recorded]) -> (i64, Duration) {
    let turns = recorded.iter().map(|r| r.turns).sum();
    (turns, recorded.iter().map(|r| r.cpu).sum())
}

fn target(attack: &Attack) -> Target {
    Target {
        device: attack.name.to_owned(),
        conversations: ATTACK_CONVERSATIONS,
        text: Some(attack.text.to_owned()),
    }
}

fn component(options: &Options, name: &str, component: Component) -> Result<Vec<u8>> {
    match component {
        Component::Wat => nodepath_test_guests::component(name),
        Component::Rust(plugin) => read(&options.plugins.join(plugin).with_extension("wasm")),
    }
}

fn read(file: &Path) -> Result<Vec<u8>> {
    std::fs::read(file)
        .with_context(|| format!("{} is missing; run `cargo xtask plugins`", file.display()))
}

#[expect(
    clippy::disallowed_methods,
    reason = "the host's own clock is the machine's too"
)]
fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    })
}
