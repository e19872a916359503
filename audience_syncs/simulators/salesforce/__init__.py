"""Salesforce's contacts, leads and campaigns, simulated: ``{url}/salesforce`` stands for an org's My Domain.

org      the platform: paths, tokens, limits, inspection
objects  the objects of the org, their fields, and what is refused of a value
records  records: made, updated, deleted, looked into
soql     SOQL, as far as it goes here, in SQL
jobs     Bulk API 2.0 ingest
errors   Salesforce's errors
"""

from audience_syncs.simulators.salesforce.org import Salesforce

__all__ = ["Salesforce"]
