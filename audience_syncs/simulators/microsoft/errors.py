"""Microsoft Advertising's errors: batch errors beside what worked, and faults of two kinds instead of an answer.

Codes, symbols and shapes: Microsoft's pages on operation error codes, BatchError, ApiFaultDetail and AdApiFaultDetail, and
the models of its client msads 13. With which HTTP status a fault comes over REST is not documented; these are ours: 401 for a
bad token, 403 for a missing right, 429 for too many calls, 400 for the rest, 500 for what is broken.
"""

from __future__ import annotations

import uuid
from typing import Any

from audience_syncs.simulators.platform import Answer

SYMBOLS = {
    0: ("InternalError", "An internal error has occurred."),
    100: ("NullRequest", "The request message is null."),
    105: (
        "InvalidCredentials",
        "Authentication failed. Either supplied credentials are invalid or the account is inactive.",
    ),
    106: ("UserIsNotAuthorized", "The user is not authorized to perform this action."),
    109: ("AuthenticationTokenExpired", "Authentication token expired. Please renew it or obtain a new token."),
    116: ("RequestMissingHeaders", "One or more required header elements are missing from the request."),
    117: (
        "CallRateExceeded",
        "You have exceeded the number of calls that you are allowed to make in a minute. Please reduce the number of calls "
        "that you make per minute.",
    ),
    201: ("ApiInputValidationError", "One or more input elements failed validation."),
    203: ("NullParameter", "The parameter cannot be null."),
    204: ("OperationNotSupported", "The operation is not supported."),
    4835: ("InvalidAudienceId", "The audience ID is invalid."),
    4838: ("InvalidAudienceName", "The audience name is invalid."),
    4841: ("InvalidAudienceDescription", "Audience description is invalid."),
    4842: ("InvalidAudienceMembershipDuration", "Audience membership duration is invalid."),
    4843: ("AudienceParentIdDoesNotMatchScope", "Audience parent id does not match the scope."),
    4847: ("AudienceIdIsNotNull", "Audience id must be null."),
    4848: ("InvalidAudienceParentId", "Audience parent id is invalid or not specified."),
    4849: ("InvalidAudienceScope", "Audience scope is invalid or not specified."),
    4850: ("AudiencesArrayExceedsLimit", "Audiences array exceeds the limit size."),
    4851: ("AudienceIdsArrayShouldNotBeNullOrEmpty", "Audience ids array should not be null or empty."),
    4852: ("AudienceIdsArrayExceedsLimit", "Audience ids array exceeds the limit size."),
    4853: ("DuplicateAudienceName", "Audience name is duplicate."),
    4859: ("InvalidAudienceType", "Audience Type is invalid."),
    4861: ("AudienceIdDoNotMatchAudienceType", "Audience Id do not match audience type."),
    6999: ("CampaignServiceBatchLimitExceeded", "The maximum number of items per request would be exceeded."),
    8000: ("InvalidCustomerListId", "Invalid CustomerList Id"),
    8001: ("InvalidCustomerListActionType", "The Customer List Action Type can only be Add, Replace, or Delete."),
    8002: ("CustomerListItemSubTypeNotSupported", "The Customer List Item sub type is not supported."),
    8003: (
        "CustomerListTermsAndConditionsNotAccepted",
        "The Customer Match 'Terms And Conditions' are not yet Accepted in the Microsoft Advertising web UI.",
    ),
    8004: ("EmailMustBeHashed", "Email address can't be in plain text and must be hashed."),
    8005: ("CRMIdLengthExceedLimitation", "CRM Id exceeds the limitation of 100 characters."),
}


class Refused(Exception):
    """A request Microsoft answers with a fault."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        super().__init__(str(answer.status))


def batch_error(code: int, index: int, field: str | None = None, details: str | None = None) -> dict[str, Any]:
    """What is wrong with one item."""
    symbol, words = SYMBOLS[code]
    return {
        "Code": code,
        "Details": details,
        "ErrorCode": symbol,
        "FieldPath": field,
        "ForwardCompatibilityMap": None,
        "Index": index,
        "Message": words,
        "Type": "BatchError",
    }


def fault(
    code: int, *, details: str | None = None, batch: list[dict[str, Any]] | None = None, status: int = 400
) -> Answer:
    """What is wrong with a request (ApiFaultDetail)."""
    symbol, words = SYMBOLS[code]
    operation = {"Code": code, "Details": details, "ErrorCode": symbol, "Message": words}
    body = {
        "BatchErrors": batch or [],
        "OperationErrors": [] if batch else [operation],
        "TrackingId": str(uuid.uuid4()),
        "Type": "ApiFaultDetail",
    }
    return Answer(status, body)


def access_fault(code: int, status: int) -> Answer:
    """What is wrong with who asks (AdApiFaultDetail)."""
    symbol, words = SYMBOLS[code]
    error = {"Code": code, "Detail": None, "ErrorCode": symbol, "Message": words}
    return Answer(status, {"Errors": [error], "TrackingId": str(uuid.uuid4()), "Type": "AdApiFaultDetail"})
