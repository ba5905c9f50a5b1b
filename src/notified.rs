/// What became of an event.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Notified {
    /// It is kept, as durably as the store promises, and will be sent.
    Queued,
    /// An event of this id was taken before; nothing changed.
    Duplicate,
    /// No enabled policy of the project wants it, or webhooks are switched off. Nothing was written.
    NoSubscriber,
}

impl Notified {
    /// The outcome's stable name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Duplicate => "duplicate",
            Self::NoSubscriber => "no_subscriber",
        }
    }
}
