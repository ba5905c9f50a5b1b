use std::collections::HashMap;

use chrono::{DateTime, Utc};
use rusqlite::{Row, params};

use super::db::{Db, unreadable};
use crate::error::{Error, ErrorKind, Result};
use crate::event::EventType;
use crate::id::{PolicyId, ProjectId, TargetId};
use crate::policy::{Policy, PolicyDraft, PolicyTarget, Target, TargetOptions};
use crate::store::view::View;
use crate::store::{Page, PolicyFilter, pair_targets};

pub(super) fn create(db: &Db<'_>, project: ProjectId, draft: PolicyDraft, now: DateTime<Utc>) -> Result<Policy> {
    check_name(db, project, &draft.name, 0)?;
    let at = now.timestamp_millis();
    db.execute(
        "INSERT INTO harbor_webhook_policies
         (project_id, name, description, event_types, creator, creation_time, update_time, enabled)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6, ?7)",
        params![project.0, draft.name, draft.description, names(&draft), draft.creator, at, draft.enabled],
    )?;
    let id = PolicyId(db.last_id());
    let fresh = vec![None; draft.targets.len()];
    write_targets(db, id, draft.targets, &fresh)?;
    touched(db)?;
    one(db, id)
}

pub(super) fn replace(db: &Db<'_>, id: PolicyId, draft: PolicyDraft, now: DateTime<Utc>) -> Result<Policy> {
    let old = one(db, id)?;
    check_name(db, old.project_id, &draft.name, id.0)?;
    let paired = pair_targets(&old.targets, &draft.targets);
    let creator = if draft.creator.is_empty() { &old.creator } else { &draft.creator };
    db.execute(
        "UPDATE harbor_webhook_policies SET name = ?2, description = ?3, event_types = ?4, creator = ?5,
         update_time = ?6, enabled = ?7 WHERE id = ?1",
        params![id.0, draft.name, draft.description, names(&draft), creator, now.timestamp_millis(), draft.enabled],
    )?;
    db.execute("DELETE FROM harbor_webhook_targets WHERE policy_id = ?1", [id.0])?;
    write_targets(db, id, draft.targets, &paired)?;
    touched(db)?;
    one(db, id)
}

/// Deletes policies and says which.
pub(super) fn delete(db: &Db<'_>, which: PolicyFilter) -> Result<Vec<PolicyId>> {
    let gone: Vec<_> = list(db, which, Page::first(usize::MAX))?.into_iter().map(|policy| policy.id).collect();
    for id in &gone {
        db.execute("DELETE FROM harbor_webhook_targets WHERE policy_id = ?1", [id.0])?;
        db.execute("DELETE FROM harbor_webhook_policies WHERE id = ?1", [id.0])?;
    }
    touched(db)?;
    Ok(gone)
}

pub(super) fn list(db: &Db<'_>, which: PolicyFilter, page: Page) -> Result<Vec<Policy>> {
    let (project, id) = match which {
        PolicyFilter::All => (None, None),
        PolicyFilter::Project(project) => (Some(project.0), None),
        PolicyFilter::Id(id) => (None, Some(id.0)),
    };
    let [limit, skip] = [page.limit, page.skip].map(|n| i64::try_from(n).unwrap_or(i64::MAX));
    let behind = page.after.unwrap_or(if page.oldest_first { i64::MIN } else { i64::MAX });
    macro_rules! listing {
        ($behind_and_order:literal) => {
            concat!(
                "SELECT id, project_id, name, description, event_types, creator, creation_time, update_time, enabled
                 FROM harbor_webhook_policies WHERE (?1 IS NULL OR project_id = ?1) AND (?2 IS NULL OR id = ?2) AND ",
                $behind_and_order,
                " LIMIT ?4 OFFSET ?5"
            )
        };
    }
    let newest_first = listing!("id < ?3 ORDER BY id DESC");
    let sql = if page.oldest_first { listing!("id > ?3 ORDER BY id") } else { newest_first };
    let mut policies = db.rows(sql, params![project, id, behind, limit, skip], read_policy)?;
    if let [policy] = &mut policies[..] {
        policy.targets = targets_of(db, policy.id)?;
    } else {
        let mut all = all_targets(db)?;
        policies.iter_mut().for_each(|policy| policy.targets = all.remove(&policy.id).unwrap_or_default());
    }
    Ok(policies)
}

/// Looks again; reads the policies only if they have changed.
pub(super) fn refresh(db: &Db<'_>, view: &View) -> Result<()> {
    let look = view.look();
    let version = version(db)?;
    let known = look.known == Some(version);
    let news = if known { None } else { Some((is_on(db)?, list(db, PolicyFilter::All, Page::first(usize::MAX))?)) };
    view.saw(&look, version, news);
    Ok(())
}

pub(super) fn switch(db: &Db<'_>, on: bool) -> Result<()> {
    db.execute("UPDATE harbor_webhook_meta SET value = ?1 WHERE key = 'switched_on'", [on])?;
    touched(db)
}

pub(super) fn is_on(db: &Db<'_>) -> Result<bool> {
    Ok(db.number("SELECT value FROM harbor_webhook_meta WHERE key = 'switched_on'", [])? != 0)
}

/// Rises with every change of a policy or of the switch.
fn version(db: &Db<'_>) -> Result<i64> {
    db.number("SELECT value FROM harbor_webhook_meta WHERE key = 'policy_version'", [])
}

fn touched(db: &Db<'_>) -> Result<()> {
    db.execute("UPDATE harbor_webhook_meta SET value = value + 1 WHERE key = 'policy_version'", []).map(|_| ())
}

fn one(db: &Db<'_>, id: PolicyId) -> Result<Policy> {
    let found = list(db, PolicyFilter::Id(id), Page::first(1))?.into_iter().next();
    found.ok_or_else(|| Error::new(ErrorKind::NotFound, format!("notificationPolicy {id} not found")))
}

fn check_name(db: &Db<'_>, project: ProjectId, name: &str, own: i64) -> Result<()> {
    let sql = "SELECT count(*) FROM harbor_webhook_policies WHERE project_id = ?1 AND name = ?2 AND id <> ?3";
    if db.number(sql, params![project.0, name, own])? > 0 {
        return Err(Error::new(ErrorKind::Conflict, format!("notification policy named {name} already exists")));
    }
    Ok(())
}

fn names(draft: &PolicyDraft) -> String {
    draft.event_types.iter().map(|kind| kind.as_str()).collect::<Vec<_>>().join(",")
}

fn write_targets(db: &Db<'_>, policy: PolicyId, targets: Vec<Target>, ids: &[Option<TargetId>]) -> Result<()> {
    for (position, (target, id)) in (0i64..).zip(targets.into_iter().zip(ids)) {
        db.execute(
            "INSERT INTO harbor_webhook_targets
             (id, policy_id, position, target_type, address, auth_header, skip_cert_verify, payload_format, options)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            params![
                id.map(|id| id.0),
                policy.0,
                position,
                target.target_type.as_str(),
                target.address.expose(),
                target.auth_header.as_ref().map(crate::policy::AuthHeader::expose),
                target.skip_cert_verify,
                target.payload_format,
                target.options.to_text(),
            ],
        )?;
    }
    Ok(())
}

fn targets_of(db: &Db<'_>, policy: PolicyId) -> Result<Vec<PolicyTarget>> {
    let sql = "SELECT policy_id, id, target_type, address, auth_header, skip_cert_verify, payload_format, options
               FROM harbor_webhook_targets WHERE policy_id = ?1 ORDER BY position";
    Ok(db.rows(sql, [policy.0], read_target)?.into_iter().map(|(_, target)| target).collect())
}

fn all_targets(db: &Db<'_>) -> Result<HashMap<PolicyId, Vec<PolicyTarget>>> {
    let sql = "SELECT policy_id, id, target_type, address, auth_header, skip_cert_verify, payload_format, options
               FROM harbor_webhook_targets ORDER BY policy_id, position";
    let mut all: HashMap<PolicyId, Vec<PolicyTarget>> = HashMap::new();
    for (policy, target) in db.rows(sql, [], read_target)? {
        all.entry(policy).or_default().push(target);
    }
    Ok(all)
}

fn read_target(row: &Row<'_>) -> rusqlite::Result<(PolicyId, PolicyTarget)> {
    let wrong = |_| unreadable("a target is of another version");
    let (kind, address): (String, String) = (row.get(2)?, row.get(3)?);
    let mut target = Target::new(kind.parse().map_err(wrong)?, &address).map_err(wrong)?;
    let auth: Option<String> = row.get(4)?;
    target.auth_header = auth.map(|value| value.parse()).transpose().map_err(wrong)?;
    target.skip_cert_verify = row.get(5)?;
    target.payload_format = row.get(6)?;
    let options: Option<String> = row.get(7)?;
    target.options = TargetOptions::from_text(options.as_deref()).map_err(unreadable)?;
    Ok((PolicyId(row.get(0)?), PolicyTarget { id: TargetId(row.get(1)?), target }))
}

fn read_policy(row: &Row<'_>) -> rusqlite::Result<Policy> {
    let events: String = row.get(4)?;
    let events: Result<Vec<EventType>> = events.split(',').map(str::parse).collect();
    Ok(Policy {
        id: PolicyId(row.get(0)?),
        project_id: ProjectId(row.get(1)?),
        name: row.get(2)?,
        description: row.get(3)?,
        targets: Vec::new(),
        event_types: events.map_err(|_| unreadable("a policy is of another version"))?,
        creator: row.get(5)?,
        creation_time: time(row.get(6)?),
        update_time: time(row.get(7)?),
        enabled: row.get(8)?,
    })
}

/// Milliseconds since 1970, as all times that people read are kept.
pub(super) fn time(millis: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(millis).unwrap_or_default()
}
