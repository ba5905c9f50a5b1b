use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::message::Message;
use super::moment::Moment;
use crate::delivery::{Attempt, Outcome, State as Stands};
use crate::id::TargetId;
use crate::policy::TargetType;

/// A delivery. Most of those that wait have never been touched, so what only some have lies in the story; what the
/// deliveries of a target share lies in its lane, what those of a body share in the message.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) message: Arc<Message>,
    pub(super) target: TargetId,
    /// When it was made or last redelivered.
    pub(super) since: Moment,
    /// If it is due, since or from when; if it is leased, until when; if it has ended, when it did.
    pub(super) at: Moment,
    pub(super) created: DateTime<Utc>,
    /// The number of its leases so far, and so the token of the newest.
    pub(super) token: u32,
    pub(super) state: Stands,
    pub(super) target_type: TargetType,
    pub(super) losses: u8,
    pub(super) redelivered: bool,
    story: Option<Box<Story>>,
}

/// What has happened to a delivery.
#[derive(Debug)]
struct Story {
    updated: DateTime<Utc>,
    attempts: u32,
    /// Attempts made before the last redelivery.
    spent: u32,
    detail: Option<Box<str>>,
    history: Vec<Attempt>,
}

impl Row {
    pub(super) fn new(message: Arc<Message>, target: (TargetId, TargetType), now: Moment, wall: DateTime<Utc>) -> Self {
        Self {
            message,
            target: target.0,
            since: now,
            at: now,
            created: wall,
            token: 0,
            state: Stands::Due,
            target_type: target.1,
            losses: 0,
            redelivered: false,
            story: None,
        }
    }

    pub(super) fn waits(&self) -> bool {
        !self.state.is_final()
    }

    pub(super) fn is_dead(&self) -> bool {
        matches!(self.state, Stands::Dead(_))
    }

    /// The bytes that grow with what happens to it.
    pub(super) fn story_bytes(&self) -> usize {
        let Some(story) = &self.story else { return 0 };
        let texts: usize = story.history.iter().map(|attempt| size_of::<Attempt>() + text(attempt)).sum();
        size_of::<Story>() + texts + story.detail.as_ref().map_or(0, |detail| detail.len())
    }

    pub(super) fn attempts(&self) -> u32 {
        self.story.as_ref().map_or(0, |story| story.attempts)
    }

    pub(super) fn attempts_since_redelivery(&self) -> u32 {
        self.story.as_ref().map_or(0, |story| story.attempts - story.spent)
    }

    pub(super) fn updated(&self) -> DateTime<Utc> {
        self.story.as_ref().map_or(self.created, |story| story.updated)
    }

    pub(super) fn detail(&self) -> Option<&str> {
        self.story.as_ref().and_then(|story| story.detail.as_deref())
    }

    pub(super) fn history(&self) -> &[Attempt] {
        self.story.as_ref().map_or(&[], |story| &story.history)
    }

    pub(super) fn touch(&mut self, wall: DateTime<Utc>) {
        self.story(wall).updated = wall;
    }

    pub(super) fn explain(&mut self, detail: Option<String>, wall: DateTime<Utc>) {
        if detail.is_some() || self.story.is_some() {
            self.story(wall).detail = detail.map(String::into_boxed_str);
        }
    }

    pub(super) fn record(&mut self, mut attempt: Attempt, wall: DateTime<Utc>) {
        match &mut attempt.outcome {
            Outcome::Answered { body: text, .. } | Outcome::Failed { message: text, .. } => text.shrink_to_fit(),
        }
        let story = self.story(wall);
        story.updated = wall;
        story.attempts = story.attempts.saturating_add(1);
        // A vector that grows by itself would make room for four.
        story.history.reserve_exact(1);
        story.history.push(attempt);
    }

    pub(super) fn begin_again(&mut self, now: Moment, wall: DateTime<Utc>) {
        (self.since, self.redelivered, self.losses) = (now, true, 0);
        let story = self.story(wall);
        story.updated = wall;
        story.spent = story.attempts;
        story.detail = None;
    }

    fn story(&mut self, wall: DateTime<Utc>) -> &mut Story {
        self.story.get_or_insert_with(|| {
            Box::new(Story { updated: wall, attempts: 0, spent: 0, detail: None, history: Vec::new() })
        })
    }
}

fn text(attempt: &Attempt) -> usize {
    match &attempt.outcome {
        Outcome::Answered { body: text, .. } | Outcome::Failed { message: text, .. } => text.len(),
    }
}
