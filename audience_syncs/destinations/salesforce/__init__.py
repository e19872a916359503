"""Salesforce: campaigns, whose members are contacts or leads.

declaration  the fields, the settings, what an account can do
account      one org: what becomes of members who are added, written, removed, deleted
campaigns    campaigns and who is a member of them
people       contacts and leads: found by email or by an external id, made and updated
writes       many records changed: 200 a call, or by a job; what is refused as a whole is divided
collections  200 records a call (sObject Collections)
bulk         jobs (Bulk API 2.0 ingest)
soql         questions in SOQL
calls        one call: Salesforce's limits, and what its errors mean
signing_in   OAuth 2.0: three flows, and where the org is
"""

from audience_syncs.destinations.salesforce.declaration import SPEC, check_mapping, declare, open_account

__all__ = ["SPEC", "check_mapping", "declare", "open_account"]
