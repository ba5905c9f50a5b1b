//! How many instructions a render takes, as a ratio to the rival's in the same binary: `cargo bench --bench instructions`.
//!
//! Counted by callgrind, so it is the same on a busy machine. A ratio that is 3 % above the recorded one fails; a better one
//! says so, and `cargo bench --bench instructions -- record` records it. What a compiler makes of the code differs from
//! release to release: with another compiler than the recorded one, ratios are shown and not judged.

mod cases;

use std::collections::BTreeMap;
use std::error::Error;
use std::process::Command;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const RECORDED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/render/instructions.txt");
/// How far a ratio may rise.
const TOLERANCE: f64 = 1.03;
/// Renders in the shorter and in the longer run: their difference is free of what happens once.
const RUNS: [u32; 2] = [200, 1200];

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    match &args[..] {
        [] => check(),
        [record] if record == "record" => record_all(),
        [subject, case, side, renders] => render(subject, case.parse()?, side, renders.parse()?),
        _ => Err("usage: instructions [record]".into()),
    }
}

/// What runs under callgrind.
fn render(subject: &str, case: usize, side: &str, renders: u32) -> Result<()> {
    let event = if subject == "push" { cases::push()? } else { cases::scan()? };
    let mut case = cases::of(&event).into_iter().nth(case).ok_or("there is no such case")?;
    let render = if side == "ours" { &mut case.ours } else { &mut case.rival };
    let mut out = Vec::with_capacity(16 * 1024);
    for _ in 0..renders {
        out.clear();
        assert!(render(&mut out), "rendering failed");
    }
    Ok(())
}

fn check() -> Result<()> {
    let recorded = std::fs::read_to_string(RECORDED)?;
    let (compiler, recorded) = recorded.split_once('\n').ok_or("the record is empty")?;
    let recorded: BTreeMap<&str, f64> = recorded.lines().filter_map(parse).collect();
    let judged = compiler == rustc()?;
    if !judged {
        println!("recorded with {compiler}, so nothing is judged");
    }
    let mut worse = Vec::new();
    for (name, ratio) in ratios()? {
        let before = recorded.get(&*name).copied().ok_or_else(|| format!("{name} is not recorded"))?;
        println!("{name:<52} {ratio:.3} of the rival's instructions, recorded {before:.3}");
        if judged && ratio > before * TOLERANCE {
            worse.push(name);
        }
    }
    let worse = worse.join("; ");
    if worse.is_empty() { Ok(()) } else { Err(format!("more than 3 % above the record: {worse}").into()) }
}

fn record_all() -> Result<()> {
    let mut text = rustc()?;
    for (name, ratio) in ratios()? {
        text.push_str(&format!("\n{ratio:.4} {name}"));
    }
    std::fs::write(RECORDED, text + "\n")?;
    Ok(())
}

fn parse(line: &str) -> Option<(&str, f64)> {
    let (ratio, name) = line.split_once(' ')?;
    Some((name, ratio.parse().ok()?))
}

fn ratios() -> Result<Vec<(String, f64)>> {
    let mut ratios = Vec::new();
    for (subject, event) in [("push", cases::push()?), ("scan", cases::scan()?)] {
        for (n, case) in cases::of(&event).iter().enumerate() {
            let ratio = each(subject, n, "ours")? / each(subject, n, "rival")?;
            ratios.push((format!("{subject}: {} / {}", case.name, case.rival_name), ratio));
        }
    }
    Ok(ratios)
}

/// Instructions of one render.
fn each(subject: &str, case: usize, side: &str) -> Result<f64> {
    let [short, long] = RUNS;
    let more = counted(subject, case, side, long)? - counted(subject, case, side, short)?;
    Ok(more / f64::from(long - short))
}

fn counted(subject: &str, case: usize, side: &str, renders: u32) -> Result<f64> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(std::env::current_exe()?)
        .args([subject, &case.to_string(), side, &renders.to_string()])
        .output()
        .map_err(|e| format!("valgrind cannot be started ({e}); install Debian's package valgrind"))?;
    let text = String::from_utf8_lossy(&output.stderr);
    let count = text.lines().find_map(|line| line.split_once("Collected : ")).map(|(_, count)| count.trim().parse());
    Ok(count.ok_or_else(|| format!("callgrind counted nothing:\n{text}"))??)
}

fn rustc() -> Result<String> {
    let output = Command::new("rustc").arg("--version").output()?;
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}
