//! What E2B has and this server has not yet: said plainly, so that nobody takes it for a broken server.

use http::StatusCode;

use crate::error::ApiError;

/// The answer to whatever no other file serves.
pub(super) fn explain(path: &[&str]) -> ApiError {
    let what = match path {
        ["secrets", ..] => "Secrets",
        ["v2" | "v3", "templates", ..] | ["templates", ..] => "Building and changing templates",
        ["teams", ..] => "Teams",
        ["events", "webhooks", ..] => "Webhooks",
        ["sandboxes" | "volumes"] | ["v2", "sandboxes"] => {
            return ApiError::wrong_method("GET, POST");
        }
        ["sandboxes", _, "network" | "airgap"] => return ApiError::wrong_method("PUT"),
        ["snapshots"] | ["sandboxes", _, "network", "log"] | ["sandboxes", "metrics"] => {
            return ApiError::wrong_method("GET");
        }
        ["sandboxes" | "volumes", _] => return ApiError::wrong_method("GET, DELETE"),
        _ => {
            let mut error = ApiError::new(StatusCode::NOT_FOUND, "there is no such path");
            error.retry = Some(false);
            return error;
        }
    };
    ApiError::unsupported(what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_named_and_not_worth_a_retry() {
        for path in [&["secrets"][..], &["v3", "templates"]] {
            let error = explain(path);
            assert_eq!(
                (error.status.as_u16(), error.retry),
                (501, Some(false)),
                "{path:?}"
            );
        }
        let error = explain(&["sandboxes"]);
        assert_eq!(
            (error.status.as_u16(), error.allow),
            (405, Some("GET, POST"))
        );
        assert_eq!(explain(&["etc", "passwd"]).status, 404);
    }
}
