//! What targets hold of secrets is wiped from memory when they are dropped: a process reads its own memory.

use std::io::{Read, Seek, SeekFrom};
use std::process::Command;

use harbor_webhook::policy::Target;

/// A secret, inverted: so it lies in memory only where a target put it.
fn secret(n: u8) -> [u8; 32] {
    std::array::from_fn(|at| !(b'A' + (at as u8 * 7 + n * 11) % 26))
}

/// How often the secret lies in the memory that this process can write to, outside of what is read into.
fn found(secret: &[u8]) -> usize {
    let is_it = |window: &[u8]| window.iter().zip(secret).all(|(byte, inverted)| *byte == !inverted);
    let mut memory = std::fs::File::open("/proc/self/mem").unwrap();
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let mut chunk = vec![0u8; 64 << 20];
    let own = chunk.as_ptr().addr()..chunk.as_ptr().addr() + chunk.len();
    let mut count = 0;
    for line in maps.lines().filter(|line| line.contains(" rw-p ")) {
        let (from, to) = line.split(' ').next().unwrap().split_once('-').unwrap();
        let [from, to] = [from, to].map(|at| usize::from_str_radix(at, 16).unwrap());
        if from < own.end && own.start < to || to - from > chunk.len() {
            continue;
        }
        let part = &mut chunk[..to - from];
        if memory.seek(SeekFrom::Start(from as u64)).is_ok() && memory.read_exact(part).is_ok() {
            count += part.windows(secret.len()).filter(|window| is_it(window)).count();
        }
    }
    count
}

/// The text with the secret in it, in one piece of memory that is wiped afterwards.
fn with<T>(before: &str, secret: &[u8], make: impl FnOnce(&str) -> T) -> T {
    let mut text = Vec::with_capacity(before.len() + secret.len());
    text.extend_from_slice(before.as_bytes());
    text.extend(secret.iter().map(|inverted| !inverted));
    let made = make(std::str::from_utf8(&text).unwrap());
    text.fill(0);
    made
}

/// Says that this is the process that is to look.
const LOOK: &str = "WIPED_LOOKS";

/// In a process of its own, which has little memory to look through.
#[test]
fn the_secrets_of_a_target_are_wiped() {
    if std::env::var_os(LOOK).is_some() {
        return look();
    }
    let test = ["--exact", "wiped::the_secrets_of_a_target_are_wiped", "--nocapture"];
    let looked = Command::new(std::env::current_exe().unwrap()).args(test).env(LOOK, "1").output().unwrap();
    let said = String::from_utf8_lossy(&looked.stdout);
    assert!(looked.status.success() && said.contains("1 passed"), "{said}{}", String::from_utf8_lossy(&looked.stderr));
}

fn look() {
    let (token, auth) = (secret(1), secret(2));
    let target = with("http://ci.example.com/hook?token=", &token, |address| Target::http(address).unwrap());
    let target = with("Bearer ", &auth, |value| target.auth_header(value).unwrap());
    // As a text and as a URL.
    assert_eq!((found(&token), found(&auth)), (2, 1));
    drop(target);
    assert_eq!((found(&token), found(&auth)), (0, 0));
}
