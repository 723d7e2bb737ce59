from concurrent import futures

import helloworld_pb2
import helloworld_pb2_grpc
import pki


class Greeter(helloworld_pb2_grpc.GreeterServicer):
    def SayHello(self, request, context):
        return helloworld_pb2.HelloReply(message=f"Hello, {request.name}!")


me = pki.Workload.from_directory("certs/greeter", policy="policy.toml")
server = me.sync_server(futures.ThreadPoolExecutor(max_workers=10))
helloworld_pb2_grpc.add_GreeterServicer_to_server(Greeter(), server)
server.add_secure_port("localhost:50051")
server.start()
server.wait_for_termination()
