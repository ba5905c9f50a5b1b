//! Time, CPU and memory of a stretch of work, and ratios of two sides.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use super::Result;

/// What a stretch of work took. The CPU is that of the whole process without its sinks; that of PostgreSQL's processes on this
/// machine stands beside it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    pub(crate) wall: Duration,
    pub(crate) cpu: Duration,
    pub(crate) server: Duration,
    pub(crate) count: usize,
}

impl Cost {
    /// Things done in a second.
    pub(crate) fn rate(&self) -> f64 {
        self.count as f64 / self.wall.as_secs_f64()
    }

    /// Microseconds of CPU for each thing.
    pub(crate) fn cpu_each(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.count as f64
    }

    /// The same with the database server's.
    pub(crate) fn all_cpu_each(&self) -> f64 {
        (self.cpu + self.server).as_secs_f64() * 1e6 / self.count as f64
    }

    /// Microseconds that passed for each thing.
    pub(crate) fn wall_each(&self) -> f64 {
        self.wall.as_secs_f64() * 1e6 / self.count as f64
    }
}

/// Measures a stretch of work.
#[derive(Debug)]
pub(crate) struct Meter {
    begun: Instant,
    cpu: Duration,
    server: Duration,
}

impl Meter {
    pub(crate) fn start() -> Result<Self> {
        Ok(Self { cpu: cpu()?, server: server_cpu()?, begun: Instant::now() })
    }

    pub(crate) fn stop(self, count: usize) -> Result<Cost> {
        let wall = self.begun.elapsed();
        let (cpu, server) = (cpu()?.saturating_sub(self.cpu), server_cpu()?.saturating_sub(self.server));
        Ok(Cost { wall, cpu, server, count })
    }
}

/// CPU of this process, less that of the threads named `sink`. The kernel counts the process in hundredths of a second, and
/// its threads in nanoseconds; threads that have ended are in the first figure only.
fn cpu() -> Result<Duration> {
    let all = ticks(&fs::read_to_string("/proc/self/stat")?, 11..13);
    let mut sinks = Duration::ZERO;
    for task in fs::read_dir("/proc/self/task")? {
        let task = task?.path();
        // A thread may end while its files are read.
        let read = |name: &str| fs::read_to_string(task.join(name)).unwrap_or_default();
        if read("comm").trim() == "sink" {
            let ran = read("schedstat").split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or_default();
            sinks += Duration::from_nanos(ran);
        }
    }
    Ok(all.saturating_sub(sinks))
}

/// CPU of all processes named `postgres`, and of those of their children that have ended.
fn server_cpu() -> Result<Duration> {
    let mut all = Duration::ZERO;
    for process in fs::read_dir("/proc")? {
        // A process may end while its file is read.
        let stat = fs::read_to_string(process?.path().join("stat")).unwrap_or_default();
        if stat.contains("(postgres)") {
            all += ticks(&stat, 11..15);
        }
    }
    Ok(all)
}

/// The sum of these fields, counted from behind the name; they are in hundredths of a second.
fn ticks(stat: &str, fields: std::ops::Range<usize>) -> Duration {
    let behind = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks = behind.skip(fields.start).take(fields.len()).filter_map(|field| field.parse::<u64>().ok());
    Duration::from_millis(ticks.sum::<u64>() * 10)
}

/// Memory of this process that lies in RAM, in MiB.
pub(crate) fn rss() -> Result<f64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? / 1024.0)
}

/// The machine's state, which belongs beside every figure.
pub(crate) fn print_load(when: &str) {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("{when}: load average {}", load.split(' ').take(3).collect::<Vec<_>>().join(" "));
}

/// The median time of making 4 KiB at the end of a file durable, in milliseconds.
pub(crate) fn fdatasync_p50(folder: &Path) -> Result<f64> {
    let mut file = fs::File::create(folder.join("fdatasync"))?;
    let mut times = Vec::new();
    for _ in 0..100 {
        let begun = Instant::now();
        file.write_all(&[7; 4096])?;
        file.sync_data()?;
        times.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    Ok(median(&mut times))
}

pub(crate) fn median(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

/// What a ratio should be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Goal {
    AtLeast(f64),
    AtMost(f64),
}

/// The two sides of a comparison, round by round.
#[derive(Debug, Default)]
pub(crate) struct Sides {
    rounds: Vec<(f64, f64)>,
}

impl Sides {
    pub(crate) fn push(&mut self, ours: f64, theirs: f64) {
        self.rounds.push((ours, theirs));
    }

    /// Prints the median ratio of the rounds beside the goal, and what it is made of.
    pub(crate) fn print(&self, name: &str, unit: &str, goal: Goal) {
        let mut ratios: Vec<f64> = self.rounds.iter().map(|(ours, theirs)| ours / theirs).collect();
        let ratio = median(&mut ratios);
        let (least, most) = (ratios[0], ratios[ratios.len() - 1]);
        let ours = median(&mut self.rounds.iter().map(|(ours, _)| *ours).collect::<Vec<_>>());
        let theirs = median(&mut self.rounds.iter().map(|(_, theirs)| *theirs).collect::<Vec<_>>());
        let detail = format!("{least:.2} to {most:.2}; {ours:.1} and {theirs:.1} {unit}");
        print_goal(name, ratio, &detail, goal);
    }
}

/// Prints a figure beside its goal.
pub(crate) fn print_goal(name: &str, value: f64, detail: &str, goal: Goal) {
    let (met, goal) = match goal {
        Goal::AtLeast(bound) => (value >= bound, format!(">= {bound}")),
        Goal::AtMost(bound) => (value <= bound, format!("<= {bound}")),
    };
    println!("{name:<58} {value:>6.2} ({detail})  goal {goal}: {}", if met { "ok" } else { "MISSED" });
}
