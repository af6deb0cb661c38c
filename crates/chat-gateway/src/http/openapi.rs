//! The description of the HTTP API, OpenAPI 3.1, from the handlers themselves. docs/openapi.json is the same.

use axum::Json;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{Content, OpenApi, Ref, RefOr, Response};
use utoipa::{Modify, OpenApi as _, ToSchema};

use crate::http::{conversations, documents, me, messages, tokens, ui_stream};
use crate::protocol::record::ErrorCode;

/// An error of any route.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it only describes what OpenAiError writes")]
struct ApiError {
    /// What went wrong.
    error: ApiErrorBody,
    /// Always `chat-gateway`.
    src: String,
}

/// What went wrong.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it only describes what OpenAiError writes")]
struct ApiErrorBody {
    /// For programs.
    code: ErrorCode,
    /// For people, in English.
    message: String,
    /// The class of the error, as in OpenAI's API.
    r#type: String,
    /// Always `null`.
    param: Option<String>,
}

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "chat-gateway",
        description = "Conversations for every client, and answers as the AI SDK reads them. The WebSocket of \
            docs/protocol.md is beside it.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    paths(
        conversations::list,
        conversations::create,
        conversations::delete_all,
        conversations::one,
        conversations::change,
        conversations::delete,
        conversations::restore,
        conversations::folders,
        conversations::models,
        me::me,
        me::ticket,
        messages::list,
        messages::search,
        documents::export,
        documents::import,
        tokens::count,
        ui_stream::answer,
        ui_stream::history,
        ui_stream::resume,
        ui_stream::stop,
    ),
    components(schemas(ApiError)),
    modifiers(&Common),
    security(("cookie" = []), ("bearer" = [])),
    tags(
        (name = "conversations", description = "Conversations and what was said in them"),
        (name = "chat", description = "The AI SDK's UI message stream"),
        (name = "me", description = "Who is signed in"),
        (name = "models", description = "The model that answers"),
    ),
)]
struct ApiDescription;

/// What all operations have in common.
struct Common;

impl Modify for Common {
    fn modify(&self, document: &mut OpenApi) {
        let components = document.components.get_or_insert_default();
        let cookie = ApiKey::Cookie(ApiKeyValue::new("corral_user"));
        let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        components.add_security_scheme("cookie", SecurityScheme::ApiKey(cookie));
        components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
        for (path, item) in &mut document.paths.paths {
            let operations = [
                &mut item.get,
                &mut item.post,
                &mut item.patch,
                &mut item.delete,
            ];
            for operation in operations.into_iter().flatten() {
                let mut error = Response::new("Why not");
                if path.starts_with("/api/v1/chat") {
                    let line = Content::builder()
                        .schema(Some(utoipa::schema!(String)))
                        .build();
                    error.content.insert("text/plain".to_owned(), line.into());
                } else {
                    let schema = Ref::from_schema_name("ApiError");
                    let json = Content::builder().schema(Some(schema)).build();
                    error
                        .content
                        .insert("application/json".to_owned(), json.into());
                }
                let responses = &mut operation.responses.responses;
                for response in responses.values_mut() {
                    if let RefOr::T(response) = response
                        && response.description.is_empty()
                    {
                        "Done".clone_into(&mut response.description);
                    }
                }
                responses.insert("default".to_owned(), RefOr::T(error));
            }
        }
    }
}

/// The description as it is served and as docs/openapi.json has it.
///
/// # Panics
///
/// Never: it holds nothing that JSON cannot.
#[must_use]
pub fn document() -> String {
    let mut document = ApiDescription::openapi();
    // The API's version is in its paths; the program's is no part of the contract.
    "1".clone_into(&mut document.info.version);
    let json = document.to_pretty_json();
    json.expect("it holds nothing that JSON cannot") + "\n"
}

/// `GET /api/v1/openapi.json`; it is nobody's, so it needs no user.
pub(super) async fn serve() -> Json<OpenApi> {
    let mut document = ApiDescription::openapi();
    "1".clone_into(&mut document.info.version);
    Json(document)
}
