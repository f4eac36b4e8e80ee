-- The groups of a product's devices stand beside their attributes, no longer with the connection.

UPDATE product
SET definition = json_remove(
        json_set(definition, '$.groups', json(definition -> '$.connection.groups')),
        '$.connection.groups')
WHERE json_type(definition, '$.connection.groups') IS NOT NULL;
