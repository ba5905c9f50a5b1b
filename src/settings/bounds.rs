/// How much may wait and be under way, over all and for each project, and what happens to an event when it does.
///
/// Nothing is bounded here unless the host says so. The stores have bounds of their own beside this: an outbox of 100,000
/// events, a million deliveries, and [`LaneLimits`](crate::store::LaneLimits) for each target.
///
/// Events that are not fanned out count as one delivery each. What waits is looked at once a second, so that no row need be changed by
/// every event, and what this process has appended since is counted: a bound may be passed by what other processes append within
/// a second, and by the deliveries that the events turn into. Events that a host writes into the outbox itself are not refused, as
/// nobody is there to be told; [`AtBound::Park`] holds for them too.
///
/// ```
/// use harbor_webhook::Settings;
/// use harbor_webhook::settings::{AtBound, Room};
///
/// let mut settings = Settings::harbor();
/// settings.bounds.project = Room::deliveries(50_000).bytes(64 << 20);
/// settings.bounds.project_in_flight = 16;
/// settings.bounds.at_bound = AtBound::Park;
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Bounds {
    /// What may wait in all.
    pub total: Room,
    /// What may wait of one project.
    pub project: Room,
    /// Deliveries of one project that one node may have in hand at once. (Over all projects it is
    /// [`max_in_flight`](super::Settings::max_in_flight).) What is beyond it waits, and other projects go on.
    pub project_in_flight: usize,
    /// What happens to an event while too much waits.
    pub at_bound: AtBound,
}

impl Bounds {
    /// No bounds.
    pub const UNLIMITED: Self = Self {
        total: Room::UNLIMITED,
        project: Room::UNLIMITED,
        project_in_flight: usize::MAX,
        at_bound: AtBound::Refuse,
    };

    /// Whether it is worth looking at what waits.
    pub(crate) fn look(&self) -> bool {
        self.total != Room::UNLIMITED || self.project != Room::UNLIMITED
    }
}

/// How much may wait: due, leased or parked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Room {
    /// Deliveries.
    pub deliveries: u64,
    /// Bytes of their bodies, each as often as it is to be sent.
    pub bytes: u64,
}

impl Room {
    /// As much as there is.
    pub const UNLIMITED: Self = Self { deliveries: u64::MAX, bytes: u64::MAX };

    /// So many deliveries, of any size.
    pub const fn deliveries(most: u64) -> Self {
        Self { deliveries: most, bytes: u64::MAX }
    }

    /// Bounds the bytes as well.
    #[must_use]
    pub const fn bytes(mut self, most: u64) -> Self {
        self.bytes = most;
        self
    }

    /// Whether so much leaves no room for more.
    pub(crate) fn is_full(&self, deliveries: u64, bytes: u64) -> bool {
        deliveries >= self.deliveries || bytes >= self.bytes
    }
}

/// What happens to an event while too much waits.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum AtBound {
    /// [`notify`](crate::Webhooks::notify) fails with [`Full`](crate::ErrorKind::Full), and the event is not kept.
    Refuse,
    /// The event's deliveries are parked: kept, and not sent before somebody unparks them
    /// ([`unpark`](crate::Webhooks::unpark)) or redelivers them. Events that are not fanned out do not count then.
    Park,
}
