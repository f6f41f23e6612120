"""The same with Django REST framework alone, as its tutorial has it: model view sets, tokens,
no receipts, no trail, no rules in the database."""
