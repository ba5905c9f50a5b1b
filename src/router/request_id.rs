use axum::http::{HeaderMap, HeaderValue};
use uuid::Uuid;

/// The longest id of a request that is taken over.
const LONGEST: usize = 128;

/// The id of a request: the client's, if it cannot be taken for anything else in a header or a line of a log, else a new one.
pub(super) fn of(headers: &HeaderMap) -> HeaderValue {
    let given = headers.get("x-request-id").filter(|id| is_harmless(id.as_bytes())).cloned();
    given.unwrap_or_else(|| {
        // A UUID is always a header's value.
        HeaderValue::try_from(Uuid::now_v7().to_string()).unwrap_or(HeaderValue::from_static("-"))
    })
}

fn is_harmless(id: &[u8]) -> bool {
    (1..=LONGEST).contains(&id.len()) && id.iter().all(u8::is_ascii_graphic)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(id: &[u8]) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert("x-request-id", HeaderValue::from_bytes(id).unwrap());
        of(&headers) == *id
    }

    #[test]
    fn only_harmless_ids_are_taken_over() {
        assert!(taken(b"0b6b1e4e-1") && taken(&[b'a'; 128]));
        assert!(!taken(b"") && !taken(&[b'a'; 129]) && !taken(b"a b") && !taken(b"a\tb") && !taken(b"\xc3\xa9"));
        assert_ne!(of(&HeaderMap::new()), of(&HeaderMap::new()));
    }
}
