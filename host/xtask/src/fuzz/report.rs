//! What a run of a target came to, read from what libFuzzer says.

/// The end of one run.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Report {
    pub(super) target: &'static str,
    seed: String,
    executions: String,
    per_second: String,
    edges: String,
    features: String,
    corpus: String,
    /// The inputs that broke a promise.
    pub(super) found: Vec<String>,
}

impl Report {
    /// Reads the log of a run.
    pub(super) fn read(target: &'static str, log: &str) -> Self {
        let after = |line: &str, mark: &str| {
            let rest = line.split_once(mark)?.1.trim_start();
            rest.split_whitespace().next().map(str::to_owned)
        };
        let last = |mark: &str| log.lines().rev().find_map(|line| after(line, mark));
        // A line of progress: `#14  NEW    cov: 8 ft: 9 corp: 3/11b lim: 4 …`.
        let progress = |mark: &str| {
            log.lines()
                .rev()
                .filter(|line| line.starts_with('#'))
                .find_map(|line| after(line, mark))
                .unwrap_or_default()
        };
        Self {
            target,
            seed: last("INFO: Seed:").unwrap_or_default(),
            executions: last("stat::number_of_executed_units:").unwrap_or_default(),
            per_second: last("stat::average_exec_per_sec:").unwrap_or_default(),
            edges: progress(" cov:"),
            features: progress(" ft:"),
            corpus: progress(" corp:"),
            found: log
                .lines()
                .filter_map(|line| after(line, "Test unit written to "))
                .collect(),
        }
    }

    /// A line for each input that broke a promise, with the command that shows it again.
    pub(super) fn findings(&self) -> impl Iterator<Item = String> {
        self.found.iter().map(|input| {
            format!(
                "{} fails; to see it again: cargo xtask fuzz {} {input}",
                self.target, self.target
            )
        })
    }
}

/// The reports side by side.
pub(super) fn table(reports: &[Report]) -> String {
    let head = [
        "target",
        "executions",
        "per second",
        "corpus",
        "edges",
        "features",
        "crashes",
        "seed",
    ];
    let mut lines = vec![head.map(str::to_owned)];
    lines.extend(reports.iter().map(|r| {
        [
            r.target.to_owned(),
            r.executions.clone(),
            r.per_second.clone(),
            r.corpus.clone(),
            r.edges.clone(),
            r.features.clone(),
            r.found.len().to_string(),
            r.seed.clone(),
        ]
    }));
    let lines: Vec<String> = lines
        .iter()
        .map(|[target, rest @ ..]| {
            let rest: String = rest.iter().map(|cell| format!("{cell:>14}")).collect();
            format!("{target:<20}{rest}")
        })
        .collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "\
INFO: Running with entropic power schedule (0xFF, 100).
INFO: Seed: 1462092442
#7\tINITED cov: 3058 ft: 6230 corp: 6/3780b exec/s: 0 rss: 33Mb
#1002\tDONE   cov: 3324 ft: 16421 corp: 344/161Kb lim: 1920 exec/s: 111 rss: 38Mb
Done 1002 runs in 9 second(s)
stat::number_of_executed_units: 1002
stat::average_exec_per_sec:     111
";

    #[test]
    fn a_run_without_a_finding_is_a_line_of_figures() {
        let report = Report::read("effects", LOG);
        assert_eq!(report.findings().count(), 0);
        let table = table(&[report]);
        let lines: Vec<Vec<&str>> = table
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        let figures = [
            "effects",
            "1002",
            "111",
            "344/161Kb",
            "3324",
            "16421",
            "0",
            "1462092442",
        ];
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[1], figures);
    }

    #[test]
    fn a_finding_is_told_with_the_command_that_repeats_it() {
        let log = format!(
            "{LOG}artifact_prefix='a/'; Test unit written to tests/fuzz/artifacts/split/crash-1\nBase64: CmE=\n"
        );
        let report = Report::read("split", &log);
        let told: Vec<_> = report.findings().collect();
        assert_eq!(
            told,
            [
                "split fails; to see it again: cargo xtask fuzz split tests/fuzz/artifacts/split/crash-1"
            ]
        );
    }
}
