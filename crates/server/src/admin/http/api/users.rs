//! Who may log in: the users file, as `columba user` changes it. The broker takes what has changed as it takes any other change of the file.

use std::{path::PathBuf, sync::Arc};

use axum::{
    Json,
    extract::{Path, State, rejection::JsonRejection},
    http::StatusCode,
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::access::{Admin, Viewer};
use crate::{
    admin::{http::problem::Problem, outside::Outside},
    users::{Expected, Kind, SetError, UsersError, UsersFile},
};

/// Somebody who is to log in.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewUser {
    name: String,
    password: String,
}

/// Another password.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewPassword {
    password: String,
}

pub(super) async fn list(_: Viewer, State(outside): State<Arc<Outside>>) -> Result<Json<Value>, Problem> {
    let path = path(&outside)?;
    let file = beside(move || Ok(UsersFile::read(&path)?)).await?;
    let items: Vec<Value> = file.users().map(|(name, secret)| json!({ "name": name, "hash": secret.kind_name() })).collect();
    Ok(Json(json!({ "items": items })))
}

pub(super) async fn add(
    _: Admin,
    State(outside): State<Arc<Outside>>,
    body: Result<Json<NewUser>, JsonRejection>,
) -> Result<StatusCode, Problem> {
    let Json(NewUser { name, password }) = body.map_err(|error| Problem::new(error.status(), error.body_text()))?;
    set(&outside, name, password, Expected::New).await.map(|()| StatusCode::CREATED)
}

pub(super) async fn change(
    _: Admin,
    State(outside): State<Arc<Outside>>,
    Path(name): Path<String>,
    body: Result<Json<NewPassword>, JsonRejection>,
) -> Result<StatusCode, Problem> {
    let Json(NewPassword { password }) = body.map_err(|error| Problem::new(error.status(), error.body_text()))?;
    set(&outside, name, password, Expected::Known).await.map(|()| StatusCode::NO_CONTENT)
}

async fn set(outside: &Outside, name: String, password: String, expected: Expected) -> Result<(), Problem> {
    let path = path(outside)?;
    let _one_at_a_time = outside.users_file.lock().await;
    beside(move || {
        let mut file = match expected {
            Expected::New => UsersFile::read_or_new(&path),
            Expected::Known => UsersFile::read(&path),
        }?;
        file.set_password(&name, expected, Kind::Argon2id, &password)?;
        Ok(file.write(&path)?)
    })
    .await
}

pub(super) async fn remove(
    _: Admin,
    State(outside): State<Arc<Outside>>,
    Path(name): Path<String>,
) -> Result<StatusCode, Problem> {
    let path = path(&outside)?;
    let _one_at_a_time = outside.users_file.lock().await;
    beside(move || {
        let mut file = UsersFile::read(&path)?;
        if !file.remove(&name) {
            return Err(SetError::Nobody(name).into());
        }
        Ok(file.write(&path)?)
    })
    .await
    .map(|()| StatusCode::NO_CONTENT)
}

fn path(outside: &Outside) -> Result<PathBuf, Problem> {
    outside
        .in_force()
        .password_file
        .clone()
        .ok_or_else(|| Problem::not_found("there are no users: auth.password.file names no file"))
}

/// What reads files and derives keys is no work for the thread that answers.
async fn beside<A: Send + 'static>(work: impl FnOnce() -> Result<A, Problem> + Send + 'static) -> Result<A, Problem> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Problem::unavailable("the users file was not looked at to the end"))?
}

impl From<UsersError> for Problem {
    fn from(error: UsersError) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
    }
}

impl From<SetError> for Problem {
    fn from(error: SetError) -> Self {
        let status = match &error {
            SetError::Known(_) => StatusCode::CONFLICT,
            SetError::Nobody(_) => StatusCode::NOT_FOUND,
            SetError::Name(_) | SetError::Empty | SetError::Secret(_) => StatusCode::BAD_REQUEST,
        };
        Self::new(status, error.to_string())
    }
}
