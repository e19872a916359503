"""Microsoft's own client, msads, talks to the simulator: run by ``test_simulators_microsoft`` in a process of its own.

It brings a module of the same name as another client, so that it lives in a folder of its own (``MSADS_PATH``).
"""

from __future__ import annotations

import importlib
import sys
import time
from hashlib import sha256
from typing import Any

import requests


def model(name: str, module: str) -> Any:
    return getattr(importlib.import_module(f"openapi_client.models.campaign.{module}"), name)


def main(url: str) -> None:
    from bingads.authorization import (  # type: ignore[import-not-found]
        AuthorizationData,
        OAuthDesktopMobileAuthCodeGrant,
        OAuthTokens,
    )
    from bingads.service_client import ServiceClient  # type: ignore[import-not-found]

    form = {
        "grant_type": "refresh_token",
        "client_id": "app",
        "refresh_token": "me",
        "scope": "https://ads.microsoft.com/msads.manage offline_access",
    }
    given = requests.post(f"{url}/common/oauth2/v2.0/token", data=form, timeout=10).json()
    signed_in = OAuthDesktopMobileAuthCodeGrant(client_id="app")
    signed_in._oauth_tokens = OAuthTokens(given["access_token"], given["expires_in"], given["refresh_token"])
    who = AuthorizationData(account_id=42, customer_id=77, developer_token="DEV123", authentication=signed_in)
    api: Any = ServiceClient("CampaignManagementService", 13, who, location=url)._api

    kind = model("AudienceType", "audience_type").CUSTOMERLIST
    wanted = model("CustomerList", "customer_list")(
        Name="People", Scope="Account", ParentId="42", MembershipDuration=-1
    )
    wanted.type = kind
    made = api.add_audiences(model("AddAudiencesRequest", "add_audiences_request")(Audiences=[wanted]))
    assert not made.partial_errors, made
    (list_id,) = made.audience_ids

    def apply(action: str, items: list[str]) -> Any:
        data = model("CustomerListUserData", "customer_list_user_data")(
            AudienceId=list_id, ActionType=action, CustomerListItemSubType="Email", CustomerListItems=items
        )
        return api.apply_customer_list_user_data(
            model("ApplyCustomerListUserDataRequest", "apply_customer_list_user_data_request")(
                CustomerListUserData=data
            )
        )

    hashes = [sha256(f"p{number}@example.com".encode()).hexdigest() for number in range(5)]
    answer = apply("Add", [*hashes, "plain@example.com"])
    assert [(each.index, each.code, each.error_code) for each in answer.partial_errors] == [
        (5, 8004, "EmailMustBeHashed")
    ]
    assert not apply("Remove", hashes[:2]).partial_errors
    time.sleep(0.6)
    asked = model("GetAudiencesByIdsRequest", "get_audiences_by_ids_request")(AudienceIds=[list_id], Type=kind)
    found = api.get_audiences_by_ids(asked)
    (shown,) = found.audiences
    assert (shown.name, shown.membership_duration, shown.id) == ("People", -1, list_id), shown
    assert shown.search_size is not None
    sys.stdout.write("understood\n")


if __name__ == "__main__":
    main(sys.argv[1])
