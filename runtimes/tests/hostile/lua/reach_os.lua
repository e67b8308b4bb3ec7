-- expect: thrown
return function()
  return os.execute('id')
end
