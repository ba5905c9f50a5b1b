// For pictures only: what a day's attempts came to, as the store would have counted them. A test cannot wait for a day.

import { execFileSync } from "node:child_process";

const PROGRAM = `
import json, sqlite3, sys
database = sqlite3.connect(sys.argv[1], timeout=10)
with database:
    database.executemany("INSERT OR IGNORE INTO harbor_webhook_hours VALUES (?, ?, ?, ?, ?, ?)", json.load(sys.stdin))
`;

export function pastDay(database, ...targets) {
  const now = Math.floor(Date.now() / 3600000);
  const rows = targets.flatMap((target, n) => Array.from({ length: 23 }, (_, hour) => row(target, (now - 23 + hour) * 3600000, hour, n > 0 && hour > 18)));
  execFileSync("python3", ["-c", PROGRAM, database], { input: JSON.stringify(rows.filter(Boolean)) });
}

// Busy by day, quiet by night; a receiver that goes down fails from then on.
function row(target, at, hour, isDown) {
  const taken = Math.round(16 + 14 * Math.sin((hour - 5) / 3.6) + ((hour * 7 + target) % 5));
  const failed = isDown ? taken : hour % 9 === 4 ? 2 : 0;
  const us = (38 + ((hour * 11) % 17)) * 1000 * (isDown ? 60 : 1);
  return taken > 3 && [target, at, isDown ? 0 : taken, failed, us * (isDown ? failed : taken + failed), us * 4];
}
