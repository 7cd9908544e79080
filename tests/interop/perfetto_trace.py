"""perfetto_trace.py FILE: decodes it with perfetto's own messages and checks what trace_processor relies on."""
import collections
import sys

from perfetto.protos.perfetto.trace import perfetto_trace_pb2 as messages

trace = messages.Trace()
with open(sys.argv[1], 'rb') as file:
    trace.ParseFromString(file.read())
MONOTONIC, REALTIME = 3, 1
first = trace.packet[0]
assert first.sequence_flags == 1 and first.trace_packet_defaults.timestamp_clock_id == MONOTONIC
clocks = {clock.clock_id: clock.timestamp for clock in first.clock_snapshot.clocks}
assert first.clock_snapshot.primary_trace_clock == MONOTONIC and set(clocks) == {MONOTONIC, REALTIME}
assert clocks[REALTIME] > 10 ** 18
interned = collections.defaultdict(dict)
tracks, open_slices, samples, slices, counters = {}, collections.defaultdict(list), collections.Counter(), 0, collections.Counter()
times = collections.defaultdict(int)
for packet in trace.packet[1:]:
    assert packet.trusted_packet_sequence_id == 1 and packet.sequence_flags == 2
    for field, values in packet.interned_data.ListFields():
        for value in values:
            assert value.iid and value.iid not in interned[field.name], (field.name, value.iid)
            interned[field.name][value.iid] = value
    for frame in packet.interned_data.frames:
        assert interned['function_names'][frame.function_name_id].str.decode('utf-8')
        mapping = interned['mappings'][frame.mapping_id]
        interned['mapping_paths'][mapping.path_string_ids[0]].str.decode('utf-8')
        interned['source_paths'][frame.source_path_iid].str.decode('utf-8')
    for stack in packet.interned_data.callstacks:
        assert stack.frame_ids and all(id in interned['frames'] for id in stack.frame_ids)
    if packet.HasField('track_descriptor'):
        track = packet.track_descriptor
        assert track.uuid and track.uuid not in tracks
        tracks[track.uuid] = track
    elif packet.HasField('perf_sample'):
        sample = packet.perf_sample
        assert sample.callstack_iid in interned['callstacks']
        samples[sample.pid, sample.tid] += 1
        assert packet.timestamp >= clocks[MONOTONIC] - 10 ** 9
    elif packet.HasField('track_event'):
        event = packet.track_event
        track = tracks[event.track_uuid]
        assert packet.timestamp >= times[event.track_uuid], 'times of a track go backwards'
        times[event.track_uuid] = packet.timestamp
        if event.type == messages.TrackEvent.TYPE_SLICE_BEGIN:
            open_slices[event.track_uuid].append(interned['event_names'][event.name_iid].name)
            slices += 1
        elif event.type == messages.TrackEvent.TYPE_SLICE_END:
            assert open_slices[event.track_uuid].pop()
        else:
            assert event.type == messages.TrackEvent.TYPE_COUNTER and track.HasField('counter')
            assert track.parent_uuid in tracks
            counters[track.name] += 1
assert not any(open_slices.values())
processes = {track.process.pid for track in tracks.values() if track.HasField('process')}
threads = {(track.thread.pid, track.thread.tid): track.thread.thread_name for track in tracks.values() if track.HasField('thread')}
assert processes and all(pid in processes for pid, _ in threads)
assert set(samples) <= set(threads)
print({threads[key]: count for key, count in samples.items()}, slices, 'slices', dict(counters))
assert slices and samples
