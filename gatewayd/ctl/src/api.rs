//! The E2B calls this command makes, and the administrator's.

use http::Method;
use serde_json::Value;

use crate::error::Error;
use crate::http::{Body, Target, full, good, whole};

/// gatewayd's API.
#[derive(Clone, Debug)]
pub(crate) struct Api {
    pub(crate) target: Target,
}

/// A sandbox and what opens it.
#[derive(Clone, Debug)]
pub(crate) struct Sandbox {
    pub(crate) id: String,
    /// Its agent's token; the operator needs none.
    pub(crate) token: Option<String>,
}

impl Sandbox {
    pub(crate) fn new(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            token: None,
        }
    }
}

impl Api {
    pub(crate) fn new(target: Target) -> Self {
        Self { target }
    }

    /// A call with an optional JSON body; `Null` when nothing comes back.
    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, Error> {
        Ok(self.call_paged(method, path, body).await?.0)
    }

    /// The same, with the token of the next page.
    async fn call_paged(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(Value, Option<String>), Error> {
        let mut connection = self.target.connect().await?;
        let (body, kind) = match body {
            Some(json) => (
                full(json.to_string()),
                Some(("content-type", "application/json")),
            ),
            None => (full(""), None),
        };
        let response = connection.send(method, path, kind.as_slice(), body).await?;
        let response = good(response).await?;
        let next = response
            .headers()
            .get("x-next-token")
            .and_then(|v| v.to_str().ok());
        let next = next.filter(|t| !t.is_empty()).map(str::to_owned);
        let bytes = whole(response).await?;
        if bytes.is_empty() {
            return Ok((Value::Null, next));
        }
        let json =
            serde_json::from_slice(&bytes).map_err(|e| Error::Answer(format!("{path}: {e}")))?;
        Ok((json, next))
    }

    /// A call with a body of its own.
    pub(crate) async fn upload(&self, path: &str, kind: &str, body: Body) -> Result<Value, Error> {
        let mut connection = self.target.connect().await?;
        let headers = [("content-type", kind)];
        let response = connection.send(Method::POST, path, &headers, body).await?;
        let bytes = whole(good(response).await?).await?;
        Ok(serde_json::from_slice(&bytes).unwrap_or_default())
    }

    /// Creates a sandbox; returns it and the whole answer.
    pub(crate) async fn create(&self, request: &Value) -> Result<(Sandbox, Value), Error> {
        let answer = self
            .call(Method::POST, "/v2/sandboxes", Some(request))
            .await?;
        let id = answer["sandboxID"].as_str();
        let id = id.ok_or_else(|| Error::Answer("no sandboxID".to_owned()))?;
        let token = answer["envdAccessToken"].as_str().map(str::to_owned);
        let sandbox = Sandbox {
            id: id.to_owned(),
            token,
        };
        Ok((sandbox, answer))
    }

    /// Every sandbox; `query` is added.
    pub(crate) async fn list(&self, query: &str) -> Result<Vec<Value>, Error> {
        self.pages("/v2/sandboxes", query).await
    }

    /// A whole list, page by page; `query` is added to each.
    pub(crate) async fn pages(&self, of: &str, query: &str) -> Result<Vec<Value>, Error> {
        let mut all = Vec::new();
        let mut next: Option<String> = None;
        loop {
            let mut path = format!("{of}?limit=100{query}");
            if let Some(token) = &next {
                path.push_str(&format!("&nextToken={}", crate::http::encode(token)));
            }
            let (page, token) = self.call_paged(Method::GET, &path, None).await?;
            match page {
                Value::Array(items) => all.extend(items),
                _ => return Err(Error::Answer("the list is none".to_owned())),
            }
            if token.is_none() || token == next {
                return Ok(all);
            }
            next = token;
        }
    }

    /// Ends a sandbox.
    pub(crate) async fn kill(&self, id: &str) -> Result<(), Error> {
        let path = format!("/sandboxes/{}", crate::http::encode(id));
        self.call(Method::DELETE, &path, None).await.map(|_| ())
    }
}
