"""Alembic's scripts; installed as package data so that any installation can migrate its catalog."""
