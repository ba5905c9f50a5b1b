//! What may not grow: memory, descriptors, files, tables, indexes and rows.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// From here on it counts: before, sweeps and vacuums have not come round often enough.
pub(super) const LONG_ENOUGH: Duration = Duration::from_secs(480);
/// What everything may grow by, in parts of itself, and in what it is counted in: pages come eight kilobytes at a time, and
/// vacuums not always in time.
const SLACK: f64 = 1.25;
const BYTES: u64 = 4 << 20;
const ROWS: u64 = 1000;
const DESCRIPTORS: u64 = 16;

/// What a store takes.
pub(super) trait Sizes {
    /// By name: bytes, or rows if the name says so.
    async fn sizes(&self) -> Vec<(String, u64)>;
}

/// What was seen, look by look.
#[derive(Default)]
pub(super) struct Growth(BTreeMap<String, Vec<u64>>);

impl Growth {
    pub(super) async fn look(&mut self, of: &impl Sizes) {
        let mut seen = of.sizes().await;
        seen.push(("memory".to_owned(), resident()));
        seen.push(("descriptors".to_owned(), std::fs::read_dir("/proc/self/fd").unwrap().count() as u64));
        for (name, size) in seen {
            self.0.entry(name).or_default().push(size);
        }
    }

    /// After a quarter of the time, the first half of the rest has seen the most that there is.
    fn tops(seen: &[u64]) -> (u64, u64) {
        let rest = &seen[seen.len() / 4..];
        let (first, second) = rest.split_at(rest.len() / 2);
        let top = |seen: &[u64]| seen.iter().copied().max().unwrap_or_default();
        (top(first), top(second))
    }

    pub(super) fn check(&self, soaked: Duration) {
        assert!(self.0.values().all(|seen| !seen.is_empty()) && self.0.len() > 4, "nothing was measured");
        if soaked < LONG_ENOUGH {
            println!("too short to say whether anything grows");
            return;
        }
        for (name, seen) in &self.0 {
            let (first, second) = Self::tops(seen);
            let slack = match &**name {
                "descriptors" => DESCRIPTORS,
                name if name.starts_with("rows") => ROWS,
                _ => BYTES,
            };
            assert!(second as f64 <= first as f64 * SLACK + slack as f64, "{name} grows: {first}, then {second}");
        }
    }
}

impl fmt::Display for Growth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, seen) in &self.0 {
            let ((first, second), last) = (Self::tops(seen), seen.last().copied().unwrap_or_default());
            writeln!(f, "{name}: at most {first}, then {second}, at last {last}")?;
        }
        Ok(())
    }
}

/// The process's memory, in bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

const TABLES: [&str; 5] = ["outbox", "bodies", "deliveries", "attempts", "lanes"];

/// The folder of a database.
pub(super) struct Sqlite(pub(super) PathBuf);

impl Sizes for Sqlite {
    async fn sizes(&self) -> Vec<(String, u64)> {
        let length = |file: &str| std::fs::metadata(self.0.join(file)).map_or(0, |file| file.len());
        let files = ["webhooks.db", "webhooks.db-wal"].map(|file| (file.to_owned(), length(file)));
        let db = rusqlite::Connection::open(self.0.join("webhooks.db")).unwrap();
        let rows = |table| {
            let sql = format!("SELECT count(*) FROM harbor_webhook_{table}");
            (format!("rows of {table}"), db.query_row(&sql, [], |row| row.get::<_, i64>(0)).unwrap() as u64)
        };
        files.into_iter().chain(TABLES.map(rows)).collect()
    }
}

/// A schema.
#[cfg(feature = "postgres")]
pub(super) struct Postgres(harbor_webhook::store::postgres::tokio_postgres::Client, String);

#[cfg(feature = "postgres")]
impl Postgres {
    pub(super) async fn connect(url: &str, schema: String) -> Self {
        Self(crate::postgres::client(url).await, schema)
    }
}

#[cfg(feature = "postgres")]
impl Sizes for Postgres {
    async fn sizes(&self) -> Vec<(String, u64)> {
        let sql = "SELECT c.relname::text, pg_relation_size(c.oid) FROM pg_class c
                   JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relkind IN ('r', 'i')";
        let rows = self.0.query(sql, &[&self.1]).await.unwrap();
        let mut sizes: Vec<_> = rows.iter().map(|row| (row.get(0), row.get::<_, i64>(1) as u64)).collect();
        for table in TABLES {
            let sql = format!("SELECT count(*) FROM {}.{table}", crate::postgres::quoted(&self.1));
            let count: i64 = self.0.query_one(&sql, &[]).await.unwrap().get(0);
            sizes.push((format!("rows of {table}"), count as u64));
        }
        sizes
    }
}
