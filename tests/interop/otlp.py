"""otlp.py FILE: decodes it with opentelemetry-proto and checks every index, as docs of the dictionary demand."""
import sys

from opentelemetry.proto.collector.profiles.v1development.profiles_service_pb2 import ExportProfilesServiceRequest

request = ExportProfilesServiceRequest()
with open(sys.argv[1], 'rb') as file:
    request.ParseFromString(file.read())
d = request.dictionary
tables = {'mapping': d.mapping_table, 'location': d.location_table, 'function': d.function_table, 'link': d.link_table,
          'string': d.string_table, 'attribute': d.attribute_table, 'stack': d.stack_table}
for name, table in tables.items():
    assert len(table) >= 1, name + ': no element 0'
    assert not (table[0] if name == 'string' else table[0].ByteSize()), name + ': element 0 is not zero'


def unique(name, values):
    values = list(values)
    assert len(set(values)) == len(values), name + ': equal elements'


unique('strings', d.string_table)
unique('stacks', (tuple(stack.location_indices) for stack in d.stack_table))
used = {name: {0} for name in tables}


def at(name, index):
    assert 0 <= index < len(tables[name]), '%s %d of %d' % (name, index, len(tables[name]))
    used[name].add(index)
    return tables[name][index]


def attributes(indices):
    keys = [at('string', at('attribute', i).key_strindex) for i in indices]
    assert all(keys) and len(set(keys)) == len(keys), keys
    for i in indices:
        value = d.attribute_table[i].value
        assert value.WhichOneof('value'), d.attribute_table[i]
    return {key: getattr(d.attribute_table[i].value, d.attribute_table[i].value.WhichOneof('value')) for key, i in zip(keys, indices)}


for function in d.function_table[1:]:
    assert at('string', function.name_strindex)
    at('string', function.filename_strindex)
    at('string', function.system_name_strindex)
for location in d.location_table[1:]:
    at('mapping', location.mapping_index)
    assert len(location.lines) == 1
    assert at('function', location.lines[0].function_index).name_strindex
    assert attributes(location.attribute_indices) in ({}, {'profile.frame.type': 'cpython'}, {'profile.frame.type': 'native'})
for stack in d.stack_table[1:]:
    for index in stack.location_indices:
        assert at('location', index).lines

assert len(request.resource_profiles) == 1 and len(request.resource_profiles[0].scope_profiles) == 1
resource = {pair.key: pair.value for pair in request.resource_profiles[0].resource.attributes}
assert resource['service.name'].string_value and resource['process.runtime.name'].string_value == 'cpython'
scope = request.resource_profiles[0].scope_profiles[0]
assert scope.scope.name == 'pyprof.h' and 'v1development' in scope.scope.attributes[0].value.string_value
ids, types = set(), []
for profile in scope.profiles:
    types.append((at('string', profile.sample_type.type_strindex), at('string', profile.sample_type.unit_strindex)))
    at('string', profile.period_type.type_strindex)
    at('string', profile.period_type.unit_strindex)
    assert len(profile.profile_id) == 16 and any(profile.profile_id)
    ids.add(profile.profile_id)
    assert profile.time_unix_nano > 10 ** 18
    facts = attributes(profile.attribute_indices)
    assert 'pyprof.missed' in facts
    identity, total = set(), 0
    for sample in profile.samples:
        at('stack', sample.stack_index)
        at('link', sample.link_index)
        labels = attributes(sample.attribute_indices)
        assert {'thread.name', 'thread.id'} <= set(labels) <= {'thread.name', 'thread.id', 'process.pid'}
        assert len(sample.values) == 1 and not sample.timestamps_unix_nano
        identity.add((sample.stack_index, tuple(sample.attribute_indices)))
        total += sample.values[0]
    assert len(identity) == len(profile.samples), 'two samples of one identity'
    print(types[-1], len(profile.samples), 'samples', total)
assert len(ids) == len(types) == len(set(types))
assert any(name == 'wall' for name, _ in types)
for name, table in tables.items():
    assert len(used[name]) == len(table), '%s: %d of %d are used' % (name, len(used[name]), len(table))
