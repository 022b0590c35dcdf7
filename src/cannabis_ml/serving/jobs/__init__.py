"""Batch jobs: many photos, answered beside live requests, by any replica."""
