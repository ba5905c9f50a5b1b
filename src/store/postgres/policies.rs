use std::collections::HashMap;

use chrono::{DateTime, Utc};
use tokio_postgres::Row;

use super::db::{Db, Hidden, Param, failure};
use crate::error::{Error, ErrorKind, Result};
use crate::event::EventType;
use crate::id::{PolicyId, ProjectId, TargetId};
use crate::policy::{Policy, PolicyDraft, PolicyTarget, Target, TargetOptions};
use crate::store::view::View;
use crate::store::{Page, PolicyFilter, pair_targets};

pub(super) async fn create(db: &Db<'_>, project: ProjectId, draft: PolicyDraft) -> Result<Policy> {
    check(&draft)?;
    check_name(db, project, &draft.name, 0).await?;
    let names = names(&draft);
    let row: [Param<'_>; 6] = [&project.0, &draft.name, &draft.description, &names, &draft.creator, &draft.enabled];
    let sql = "INSERT INTO {s}.policies
         (project_id, name, description, event_types, creator, creation_time, update_time, enabled)
         VALUES ($1, $2, $3, $4, $5, statement_timestamp(), statement_timestamp(), $6)
         ON CONFLICT DO NOTHING RETURNING id";
    let row = db.row(sql, &row).await?.ok_or_else(|| taken(&draft.name))?;
    let id = PolicyId(row.try_get(0).map_err(failure)?);
    let fresh = vec![None; draft.targets.len()];
    write_targets(db, id, &draft.targets, &fresh).await?;
    touched(db).await?;
    one(db, id).await
}

pub(super) async fn replace(db: &Db<'_>, id: PolicyId, draft: PolicyDraft) -> Result<Policy> {
    check(&draft)?;
    db.execute("SELECT 1 FROM {s}.policies WHERE id = $1 FOR UPDATE", &[&id.0]).await?;
    let old = one(db, id).await?;
    check_name(db, old.project_id, &draft.name, id.0).await?;
    let paired = pair_targets(&old.targets, &draft.targets);
    let creator = if draft.creator.is_empty() { &old.creator } else { &draft.creator };
    db.execute(
        "UPDATE {s}.policies SET name = $2, description = $3, event_types = $4, creator = $5,
         update_time = statement_timestamp(), enabled = $6 WHERE id = $1",
        &[&id.0, &draft.name, &draft.description, &names(&draft), creator, &draft.enabled],
    )
    .await?;
    db.execute("DELETE FROM {s}.targets WHERE policy_id = $1", &[&id.0]).await?;
    write_targets(db, id, &draft.targets, &paired).await?;
    touched(db).await?;
    one(db, id).await
}

pub(super) async fn delete(db: &Db<'_>, which: PolicyFilter) -> Result<Vec<PolicyId>> {
    let (project, id) = parts(which);
    let rows = db
        .rows(
            "DELETE FROM {s}.policies WHERE ($1::bigint IS NULL OR project_id = $1) AND ($2::bigint IS NULL OR id = $2)
             RETURNING id",
            &[&project, &id],
        )
        .await?;
    let gone = rows.iter().map(|row| row.try_get(0)).collect::<Result<Vec<i64>, _>>().map_err(failure)?;
    db.execute("DELETE FROM {s}.targets WHERE policy_id = ANY($1)", &[&gone]).await?;
    touched(db).await?;
    Ok(gone.into_iter().map(PolicyId).collect())
}

pub(super) async fn list(db: &Db<'_>, which: PolicyFilter, page: Page) -> Result<Vec<Policy>> {
    let (project, id) = parts(which);
    let [limit, skip] = [page.limit, page.skip].map(|n| i64::try_from(n).unwrap_or(i64::MAX));
    let behind = page.after.unwrap_or(if page.oldest_first { i64::MIN } else { i64::MAX });
    let (above, order) = if page.oldest_first { (">", "") } else { ("<", "DESC") };
    let sql = format!(
        "SELECT id, project_id, name, description, event_types, creator, creation_time, update_time, enabled
         FROM {{s}}.policies
         WHERE ($1::bigint IS NULL OR project_id = $1) AND ($2::bigint IS NULL OR id = $2) AND id {above} $3
         ORDER BY id {order} LIMIT $4 OFFSET $5"
    );
    let rows = db.rows(&sql, &[&project, &id, &behind, &limit, &skip]).await?;
    let mut policies = rows.iter().map(read_policy).collect::<Result<Vec<_>>>()?;
    let ids: Vec<i64> = policies.iter().map(|policy| policy.id.0).collect();
    let mut targets = targets_of(db, &ids).await?;
    policies.iter_mut().for_each(|policy| policy.targets = targets.remove(&policy.id).unwrap_or_default());
    Ok(policies)
}

pub(super) async fn switch(db: &Db<'_>, on: bool) -> Result<()> {
    db.execute("UPDATE {s}.meta SET value = $1 WHERE key = 'switched_on'", &[&i64::from(on)]).await?;
    touched(db).await
}

pub(super) async fn is_on(db: &Db<'_>) -> Result<bool> {
    Ok(meta(db, "switched_on").await? != 0)
}

/// Looks again; reads the policies only if they have changed.
pub(super) async fn refresh(db: &Db<'_>, view: &View) -> Result<()> {
    let look = view.look();
    let version = meta(db, "policy_version").await?;
    let news = if look.known == Some(version) {
        None
    } else {
        Some((is_on(db).await?, list(db, PolicyFilter::All, Page::first(usize::MAX)).await?))
    };
    view.saw(&look, version, news);
    Ok(())
}

async fn meta(db: &Db<'_>, key: &str) -> Result<i64> {
    let row = db.row("SELECT value FROM {s}.meta WHERE key = $1", &[&key]).await?;
    row.map_or(Ok(0), |row| row.try_get(0)).map_err(failure)
}

/// The version rises with every change of a policy or of the switch.
async fn touched(db: &Db<'_>) -> Result<()> {
    db.execute("UPDATE {s}.meta SET value = value + 1 WHERE key = 'policy_version'", &[]).await.map(|_| ())
}

async fn one(db: &Db<'_>, id: PolicyId) -> Result<Policy> {
    let found = list(db, PolicyFilter::Id(id), Page::first(1)).await?.into_iter().next();
    found.ok_or_else(|| Error::new(ErrorKind::NotFound, format!("notificationPolicy {id} not found")))
}

fn check(draft: &PolicyDraft) -> Result<()> {
    let names = [("name", &draft.name), ("description", &draft.description), ("creator", &draft.creator)];
    match names.into_iter().find(|(_, text)| text.contains('\0')) {
        Some((field, _)) => Err(Error::invalid(field, "contains the character U+0000; remove it")),
        None => Ok(()),
    }
}

async fn check_name(db: &Db<'_>, project: ProjectId, name: &str, own: i64) -> Result<()> {
    let sql = "SELECT 1 FROM {s}.policies WHERE project_id = $1 AND name = $2 AND id <> $3";
    match db.row(sql, &[&project.0, &name, &own]).await? {
        Some(_) => Err(taken(name)),
        None => Ok(()),
    }
}

fn taken(name: &str) -> Error {
    Error::new(ErrorKind::Conflict, format!("notification policy named {name} already exists"))
}

fn names(draft: &PolicyDraft) -> Vec<&'static str> {
    draft.event_types.iter().map(|kind| kind.as_str()).collect()
}

fn parts(which: PolicyFilter) -> (Option<i64>, Option<i64>) {
    match which {
        PolicyFilter::All => (None, None),
        PolicyFilter::Project(project) => (Some(project.0), None),
        PolicyFilter::Id(id) => (None, Some(id.0)),
    }
}

async fn write_targets(db: &Db<'_>, policy: PolicyId, targets: &[Target], ids: &[Option<TargetId>]) -> Result<()> {
    for (position, (target, id)) in (0i32..).zip(targets.iter().zip(ids)) {
        let (kind, address) = (target.target_type.as_str(), Hidden(target.address.expose()));
        let auth = Hidden(target.auth_header.as_ref().map(crate::policy::AuthHeader::expose));
        let (skip, format) = (&target.skip_cert_verify, &target.payload_format);
        let options = Hidden(target.options.to_text());
        let row: [Param<'_>; 8] = [&policy.0, &position, &kind, &address, &auth, skip, format, &options];
        match id.map(|id| id.0) {
            None => {
                let sql = "INSERT INTO {s}.targets
                    (policy_id, position, target_type, address, auth_header, skip_cert_verify, payload_format, options)
                    VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
                db.execute(sql, &row).await?;
            }
            Some(id) => {
                let sql = "INSERT INTO {s}.targets
                    (policy_id, position, target_type, address, auth_header, skip_cert_verify, payload_format, options,
                     id)
                    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
                db.execute(sql, &[&row[..], &[&id]].concat()).await?;
            }
        }
    }
    Ok(())
}

async fn targets_of(db: &Db<'_>, policies: &[i64]) -> Result<HashMap<PolicyId, Vec<PolicyTarget>>> {
    let sql = "SELECT policy_id, id, target_type, address, auth_header, skip_cert_verify, payload_format, options
               FROM {s}.targets WHERE policy_id = ANY($1) ORDER BY policy_id, position";
    let mut all: HashMap<PolicyId, Vec<PolicyTarget>> = HashMap::new();
    for row in db.rows(sql, &[&policies]).await? {
        let policy = PolicyId(row.try_get(0).map_err(failure)?);
        all.entry(policy).or_default().push(read_target(&row)?);
    }
    Ok(all)
}

fn read_target(row: &Row) -> Result<PolicyTarget> {
    let kind: &str = row.try_get(2).map_err(failure)?;
    let address: &str = row.try_get(3).map_err(failure)?;
    let mut target = Target::new(kind.parse().map_err(unreadable)?, address).map_err(unreadable)?;
    let auth: Option<&str> = row.try_get(4).map_err(failure)?;
    target.auth_header = auth.map(str::parse).transpose().map_err(unreadable)?;
    target.skip_cert_verify = row.try_get(5).map_err(failure)?;
    target.payload_format = row.try_get(6).map_err(failure)?;
    target.options = TargetOptions::from_text(row.try_get(7).map_err(failure)?)?;
    Ok(PolicyTarget { id: TargetId(row.try_get(1).map_err(failure)?), target })
}

fn read_policy(row: &Row) -> Result<Policy> {
    let events: Vec<&str> = row.try_get(4).map_err(failure)?;
    let events: Result<Vec<EventType>> = events.into_iter().map(str::parse).collect();
    Ok(Policy {
        id: PolicyId(row.try_get(0).map_err(failure)?),
        project_id: ProjectId(row.try_get(1).map_err(failure)?),
        name: row.try_get(2).map_err(failure)?,
        description: row.try_get(3).map_err(failure)?,
        targets: Vec::new(),
        event_types: events.map_err(unreadable)?,
        creator: row.try_get(5).map_err(failure)?,
        creation_time: row.try_get::<_, DateTime<Utc>>(6).map_err(failure)?,
        update_time: row.try_get::<_, DateTime<Utc>>(7).map_err(failure)?,
        enabled: row.try_get(8).map_err(failure)?,
    })
}

/// A value in the database that this version cannot read. The value is not shown: it may be an address.
pub(super) fn unreadable<E>(_: E) -> Error {
    Error::new(
        ErrorKind::Store,
        "a row of the webhook tables is of another version of this crate, or was changed by hand",
    )
}
