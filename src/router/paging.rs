use std::fmt::Write as _;

use axum::http::{HeaderMap, HeaderValue, header};

use super::query::Query;
use super::refusal::Refusal;

/// The largest page that can be asked for.
const LARGEST: usize = 100;
/// What a page of size 0, which is everything in Harbor, has at most.
const EVERYTHING: usize = 1000;

/// Which page of a list.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Paging {
    /// From 1.
    number: u64,
    size: usize,
}

impl Paging {
    /// Reads `page` and `page_size`.
    pub(super) fn of(query: &Query) -> Result<Self, Refusal> {
        let number = query.int("page")?.unwrap_or(1);
        let size = query.int("page_size")?.unwrap_or(10);
        if size > LARGEST as i64 {
            return Err(Refusal::unprocessable(format!(
                "page_size in query should be less than or equal to {LARGEST}"
            )));
        }
        let negative = |name| Refusal::unprocessable(format!("{name} in query should be greater than or equal to 0"));
        let number = u64::try_from(number).map_err(|_| negative("page"))?.max(1);
        match usize::try_from(size).map_err(|_| negative("page_size"))? {
            0 => Ok(Self { number, size: EVERYTHING }),
            size => Ok(Self { number, size }),
        }
    }

    /// How many entries come before the page.
    pub(super) fn skip(&self) -> usize {
        usize::try_from(self.number - 1).unwrap_or(usize::MAX).saturating_mul(self.size)
    }

    /// How many entries the page has at most.
    pub(super) const fn limit(&self) -> usize {
        self.size
    }

    /// The entries of the page.
    pub(super) fn cut<R>(&self, rows: Vec<R>) -> Vec<R> {
        rows.into_iter().skip(self.skip()).take(self.size).collect()
    }

    /// `X-Total-Count`, and `Link` if there are other pages.
    pub(super) fn headers(&self, total: u64, path: &str, query: &Query) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert("x-total-count", HeaderValue::from(total));
        let skip = self.skip() as u64;
        let prev = (self.number > 1 && skip < total).then(|| (self.number - 1, "prev"));
        let next = (skip.saturating_add(self.size as u64) < total).then(|| (self.number + 1, "next"));
        let links = [prev, next].into_iter().flatten();
        let links: Vec<_> = links
            .map(|(page, rel)| format!("<{}?{}>; rel=\"{rel}\"", escape_path(path), self.query(page, query)))
            .collect();
        // What could not stand in a header is escaped.
        if let Some(link) = HeaderValue::try_from(links.join(" , ")).ok().filter(|link| !link.is_empty()) {
            headers.insert(header::LINK, link);
        }
        headers
    }

    /// The query of another page, sorted by name.
    fn query(&self, page: u64, query: &Query) -> String {
        let mut pairs: Vec<_> =
            query.0.iter().filter(|(name, _)| name != "page" && name != "page_size").cloned().collect();
        pairs.push(("page".into(), page.to_string()));
        let size = if self.size == EVERYTHING { 0 } else { self.size };
        pairs.push(("page_size".into(), size.to_string()));
        pairs.sort();
        let pairs: Vec<_> = pairs.iter().map(|(name, value)| format!("{}={}", escape(name), escape(value))).collect();
        pairs.join("&")
    }
}

/// Harbor's links are not escaped. What would end them, or mean something else in them, is escaped here.
fn escape(text: &str) -> String {
    escape_but(text, |byte| byte.is_ascii_graphic() && !b"%&+#<>\"".contains(&byte))
}

/// A path as it was sent, for a header.
pub(super) fn escape_path(path: &str) -> String {
    escape_but(path, |byte| byte.is_ascii_graphic() && !b"<>\"".contains(&byte))
}

fn escape_but(text: &str, harmless: impl Fn(u8) -> bool) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if harmless(byte) {
            escaped.push(byte.into());
        } else {
            // Writing to a String cannot fail.
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(query: &str, total: u64) -> Option<String> {
        let query = Query::parse(Some(query));
        let headers = Paging::of(&query).unwrap().headers(total, "/api/v2.0/projects/2/webhook/policies", &query);
        assert_eq!(headers["x-total-count"], total.to_string());
        headers.get("link").map(|link| link.to_str().unwrap().to_owned())
    }

    #[test]
    fn links_are_harbors() {
        assert_eq!(link("", 10), None);
        assert_eq!(
            link("page=2&page_size=10&sort=-name", 21).unwrap(),
            "</api/v2.0/projects/2/webhook/policies?page=1&page_size=10&sort=-name>; rel=\"prev\" , \
             </api/v2.0/projects/2/webhook/policies?page=3&page_size=10&sort=-name>; rel=\"next\""
        );
        assert!(link("page=3", 30).unwrap().ends_with("rel=\"prev\""));
        assert_eq!(link("page=9", 30), None);
        let hostile = link("q=a%0d%0aSet-Cookie:%20x%3e%26%C3%A9", 30).unwrap();
        assert!(hostile.contains("q=a%0D%0ASet-Cookie:%20x%3E%26%C3%A9"), "{hostile}");
    }

    #[test]
    fn pages_are_read_as_harbor_does() {
        let read = |query: &str| Paging::of(&Query::parse(Some(query))).map(|p| (p.skip(), p.limit())).ok();
        assert_eq!(read(""), Some((0, 10)));
        assert_eq!(read("page=3&page_size=100"), Some((200, 100)));
        assert_eq!(read("page=0&page_size=0"), Some((0, 1000)));
        for wrong in ["page=x", "page=-1", "page_size=101", "page_size=-1", "page=99999999999999999999"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
        assert_eq!(read(&format!("page={}&page_size=100", i64::MAX)), Some((usize::MAX, 100)));
    }
}
